"""Another account's ordinary life: `python -m tests.hostile.victim BASE_URL` with its key in VICTIM_KEY.

Two threads stream answers, two send short requests, from a process of their own, so that an attacker's work in the
tests' process is not taken for the platform's. A line on standard input ends a period: its summary is printed as JSON.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

STREAMERS = 2
ASKERS = 2
REQUEST_TIMEOUT = 30.0  # seconds
PAUSE = 0.03  # seconds between two requests of one thread: a user, not a load test
SHORT = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}
STREAM = {"messages": [{"role": "user", "content": "Count to one hundred."}], "max_tokens": 150, "stream": True}


@dataclass
class Period:
    """What happened since the last summary. Times in seconds."""

    short: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)  # the longest of each stream
    streams: int = 0
    failures: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        return {"short": self.short, "silences": self.silences, "streams": self.streams, "failures": self.failures}


class Victim:
    """The threads, and the period that they write to."""

    def __init__(self, base_url: str, key: str) -> None:
        self._address = urlsplit(base_url).netloc
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._lock = threading.Lock()
        self._period = Period()

    def start(self) -> None:
        """Begins to send."""
        for work in [self._ask] * ASKERS + [self._stream] * STREAMERS:
            threading.Thread(target=self._forever, args=(work,), daemon=True).start()

    def end_period(self) -> Period:
        """What happened since the last call."""
        with self._lock:
            period, self._period = self._period, Period()
        return period

    def _forever(self, work: Any) -> None:
        while True:
            try:
                work()
            except (OSError, http.client.HTTPException) as error:
                self._failed(f"{work.__name__}: {type(error).__name__}: {error}")
            time.sleep(PAUSE)

    def _ask(self) -> None:
        began = time.monotonic()
        connection, answer = self._post(SHORT)
        body = answer.read()
        took = time.monotonic() - began
        connection.close()
        with self._lock:
            self._period.short.append(took)
        if answer.status != 200:
            self._failed(f"short request: {answer.status} {body[:300]!r}")

    def _stream(self) -> None:
        last = time.monotonic()
        connection, answer = self._post(STREAM)
        longest, done, error = 0.0, False, ""
        while line := answer.readline():
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            done = done or line.startswith(b"data: [DONE]")
            if line.startswith(b'data: {"error"'):
                error = line.decode(errors="replace")[:300]
        connection.close()
        with self._lock:
            self._period.streams += 1
            self._period.silences.append(longest)
        if answer.status != 200 or not done or error:
            self._failed(f"stream: {answer.status}, {'whole' if done else 'cut'} {error}")

    def _post(self, body: dict[str, Any]) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._address, timeout=REQUEST_TIMEOUT)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), self._headers)
        return connection, connection.getresponse()

    def _failed(self, what: str) -> None:
        with self._lock:
            self._period.failures.append(what)


def main() -> None:
    """Runs until standard input ends."""
    victim = Victim(sys.argv[1], os.environ["VICTIM_KEY"])
    victim.start()
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(victim.end_period().summary()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
