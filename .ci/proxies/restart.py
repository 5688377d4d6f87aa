"""Ends one of two servers behind a proxy while requests arrive, and fails if one is lost.

Usage: restart.py PROXY PROCESS
"""

import os
import signal
import sys
import threading
import time

from client import TEXTS, embed

CLIENTS = 16
SECONDS = 4


def main(proxy, process):
    answers = [embed(proxy, "/embed", text) for text in TEXTS]
    results = []
    end = time.monotonic() + SECONDS

    def send_until_end(client):
        turn = client
        while time.monotonic() < end:
            turn = (turn + 1) % len(TEXTS)
            try:
                results.append("ok" if embed(proxy, "/embed", TEXTS[turn]) == answers[turn] else "wrong")
            except Exception as error:  # Every failure is a lost request.
                results.append(repr(error))

    clients = [threading.Thread(target=send_until_end, args=(i,)) for i in range(CLIENTS)]
    [client.start() for client in clients]
    time.sleep(SECONDS / 2)
    os.kill(int(process), signal.SIGTERM)
    [client.join() for client in clients]
    lost = [result for result in results if result != "ok"]
    print(f"one of two servers ended under load: {len(results)} requests, {len(lost)} lost", *(reason[:60] for reason in lost[:2]))
    assert not lost, "requests were lost"


if __name__ == "__main__":
    main(*sys.argv[1:])
