"""Shared by the scripts of the Python clients: the published scores, and a line of output for each call."""

import sys

SOURCE = "That is a happy person"
SENTENCES = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"]
# The scores of the hosted API for all-MiniLM-L6-v2.
PUBLISHED = [0.6945773363113403, 0.9429150819778442, 0.2568760812282562]
ID = "sentence-transformers/all-MiniLM-L6-v2"
UNKNOWN = "sentence-transformers/not-served"
KEY = "a-key-of-this-test"


def near(got, expected=PUBLISHED):
    got = [float(x) for x in got]
    return len(got) == len(expected) and all(abs(a - b) <= 1e-6 for a, b in zip(got, expected))


class Checks:
    def __init__(self, client):
        self.client, self.failed, self.elsewhere = client, 0, []
        # A client may ignore the error of an optional request, so rejected hosts are also recorded.
        sys.addaudithook(self._stay_here)

    def _stay_here(self, event, args):
        host = {"socket.connect": lambda: args[1], "socket.getaddrinfo": lambda: args[0]}.get(event, lambda: None)()
        host = host[0] if isinstance(host, tuple) else host
        host = host.decode() if isinstance(host, bytes) else host
        if host not in (None, "127.0.0.1"):
            self.elsewhere.append(str(host))
            raise OSError(f"these tests must not connect to {host}")

    def line(self, call, got, ok):
        self.failed += not ok
        got = str(got) if len(str(got)) < 400 else f"{str(got)[:400]}..."
        print(f"{self.client:24} {call:76} {got}  {'ok' if ok else 'FAILED'}", flush=True)

    def _run(self, call, function):
        try:
            got, ok = function()
        except Exception as error:  # Any exception of a client is a result to print.
            got, ok = f"{type(error).__name__}: {' '.join(str(error).split())}", False
        self.line(call, got, ok)

    def holds(self, call, function):
        """Checks any condition. `function` returns the text to print and whether the check passes."""
        self._run(call, function)

    def scores(self, call, function):
        def check():
            got = function()
            return " ".join(f"{x:.7g}" for x in got), isinstance(got, list) and near(got)

        self._run(call, check)

    def vector(self, call, function, dimensions=384):
        """Checks a unit vector of one text."""

        def check():
            got = function()
            return f"shape {got.shape}", got.shape == (dimensions,) and abs(float(got @ got) - 1) <= 1e-5

        self._run(call, check)

    def vectors(self, call, function):
        """Checks the unit vectors of source and sentences: their dot products are the published scores."""

        def check():
            got = function()
            products = [float(got[0] @ row) for row in got[1:]]
            return " ".join(f"{x:.7g}" for x in products), got.shape == (4, 384) and near(products)

        self._run(call, check)

    def equals(self, call, function, expected):
        """Checks that the vectors are those that `likewise embed` writes."""

        def check():
            # Only some clients need numpy.
            import numpy

            got = numpy.asarray(function(), dtype=numpy.float32)
            if got.shape != expected.shape:
                return f"shape {got.shape} instead of {expected.shape}", False
            difference = float(abs(got - expected).max())
            return f"shape {got.shape}, difference {difference:.1g}", difference <= 1e-5

        self._run(call, check)

    def raises(self, call, function, error, words):
        """Checks that the user gets exactly this type of error, with `words` in what it prints."""

        def check():
            try:
                got = function()
            except error as seen:
                return f"{type(seen).__name__}: {' '.join(str(seen).split())}", type(seen) is error and words in str(
                    seen
                )
            return f"no error but {got!r}", False

        self._run(call, check)

    def fails(self, call, function, status, words, sentence_of):
        """Checks that the user's error contains the request id and the server's message, which contains `words`."""

        def check():
            try:
                got = function()
            except Exception as error:
                seen, answer = str(error), getattr(error, "response", None)
                if answer is None:
                    raise
                sentence, request = sentence_of(error), answer.headers.get("x-request-id")
                good = (
                    answer.status_code == status
                    and isinstance(sentence, str)
                    and sentence != ""
                    and words in sentence
                    and sentence in seen
                    and bool(request)
                    and (request in seen or request == getattr(error, "request_id", None))
                )
                return f"{answer.status_code} {sentence!r}" + ("" if good else f", and the user sees {seen!r}"), good
            return f"no error but {got!r}", False

        self._run(call, check)

    def end(self, tried=()):
        """Prints the hosts that the client tried to connect to, and ends the script. Hosts in `tried` are no failure."""
        others = sorted(set(self.elsewhere))
        self.line(
            "connected to no other host", f"tried {' '.join(others)}" if others else "", set(others) <= set(tried)
        )
        sys.exit(1 if self.failed else 0)
