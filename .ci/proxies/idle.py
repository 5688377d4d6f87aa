"""Sends requests with pauses near the timeout of idle connections, and fails if one is lost.

Usage: idle.py SECONDS NAME,ADDRESS,TIMEOUT...
If NAME ends with -control, at least one request must be lost instead: that shows that the test can see it.

The proxy keeps one connection to the server for each request of a burst. After the pause, the next burst uses these
connections again. If the server closed them first, some requests would arrive at the moment of closing and be lost.
"""

import random
import sys
import threading
import time

from client import TEXTS, embed, expected

BURST = 32


def send_bursts(name, address, timeout, end, answers, results):
    """Sends bursts of requests until `end`, and records the outcome of each."""
    source = random.Random(f"{name}{timeout}")

    def send_one(index, at):
        time.sleep(max(0.0, at - time.monotonic()))
        try:
            outcome = "ok" if embed(address, "/embed", TEXTS[index % len(TEXTS)]) == answers[index % len(TEXTS)] else "wrong"
        except Exception as error:  # Every failure is a lost request.
            outcome = repr(error)
        results.append((name, timeout, outcome))

    while True:
        start = time.monotonic()
        # The requests of a burst are spread over 20 ms, less than the pauses differ.
        spread = [start + 0.02 * i / BURST for i in range(BURST)]
        threads = [threading.Thread(target=send_one, args=(i, at)) for i, at in enumerate(spread)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        # The pause begins with each request, so it is the same for all of a burst.
        pause = timeout + source.uniform(-0.06, 0.02) + source.choice([0.0, 0.0, 0.3])
        if start + pause > end:
            return
        time.sleep(max(0.0, start + pause - time.monotonic()))


def main(seconds, *targets):
    end = time.monotonic() + float(seconds)
    results, threads = [], []
    answers = expected(targets[0].split(",")[1])
    for target in targets:
        name, address, timeout = target.split(",")
        arguments = (name, address, float(timeout), end, answers, results)
        threads.append(threading.Thread(target=send_bursts, args=arguments))
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    failed = False
    for key in sorted({result[:2] for result in results}):
        outcomes = [outcome for *found, outcome in results if tuple(found) == key]
        lost = [outcome for outcome in outcomes if outcome != "ok"]
        print(f"{key[0]}, pauses of {key[1]:g} s: {len(outcomes)} requests, {len(lost)} lost", *(reason[:60] for reason in lost[:2]))
        failed |= bool(lost) != key[0].endswith("-control")
    assert not failed, "requests were lost, or none in a control"


if __name__ == "__main__":
    main(*sys.argv[1:])
