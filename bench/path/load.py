"""Clients that cost little: raw sockets, httptools, one process.

    python -m bench.path.load '{"host": …, "port": …, "keys": […], "model": …, "stream": true, "clients": 32, …}'

Prints `{"began": true}` after the warm-up, and one JSON object at the end: requests, events, refusals, latencies in
milliseconds. Counts are those between the two lines, so that whoever reads them can take CPU times at both moments.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httptools
import orjson
import uvloop

CONNECT_TIMEOUT = 10.0  # seconds
MAX_FAILURES = 20  # afterwards the measurement is given up


@dataclass
class Tally:
    """What came, from the moment at which `counting` is set."""

    counting: bool = False
    requests: int = 0
    events: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    milliseconds: list[float] = field(default_factory=list)
    first_event_ms: list[float] = field(default_factory=list)

    def fail(self, why: str) -> None:
        self.failures[why] = self.failures.get(why, 0) + 1


class Client(asyncio.Protocol):
    """Sends a request, reads its answer, sends the next."""

    def __init__(self, message: bytes, tally: Tally) -> None:
        self._message = message
        self._tally = tally
        self._parser = httptools.HttpResponseParser(self)
        self._stopped = False
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._events = 0
        self._first = 0.0
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        if not self._first:
            self._first = time.perf_counter()
        self._events += data.count(b"data: ")

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        now = time.perf_counter()
        if status != 200:
            self._tally.fail(str(status))
        elif self._tally.counting:
            self._tally.requests += 1
            self._tally.events += self._events
            self._tally.milliseconds.append((now - self._began) * 1000)
            self._tally.first_event_ms.append((self._first - self._began) * 1000)
        if self._stopped or not self._parser.should_keep_alive():
            self._transport.close()
            return
        self._parser = httptools.HttpResponseParser(self)
        if sum(self._tally.failures.values()) < MAX_FAILURES:
            # Not from within the parser of the answer before.
            asyncio.get_running_loop().call_soon(self._send)
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._stopped:
            self._tally.fail("connection closed")
        if not self.closed.done():
            self.closed.set_result(None)

    def stop(self) -> None:
        """Ends now, in the middle of an answer or not."""
        self._stopped = True
        self._transport.abort()


def message(options: dict[str, Any], number: int) -> bytes:
    """The bytes of a client's request; clients take turns with the keys."""
    body = orjson.dumps(
        {
            "model": options["model"],
            "messages": [{"role": "user", "content": "How are you today?"}],
            "max_tokens": options["tokens"],
            "stream": options["stream"],
        }
    )
    key = options["keys"][number % len(options["keys"])]
    head = (
        f"POST {options['path']} HTTP/1.1\r\nhost: {options['host']}:{options['port']}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def quantile(values: list[float], share: float) -> float:
    """By nearest rank; 0 without values."""
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 3) if values else 0.0


async def run(options: dict[str, Any]) -> None:
    loop, tally = asyncio.get_running_loop(), Tally()
    clients: list[Client] = []
    for number in range(options["clients"]):
        request = message(options, number)
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, client = await loop.create_connection(partial(Client, request, tally), options["host"], options["port"])
        clients.append(client)
    await asyncio.sleep(options["warm_up"])
    tally.counting = True
    began, cpu = time.perf_counter(), time.process_time()
    print('{"began": true}', flush=True)
    await asyncio.sleep(options["seconds"])
    tally.counting = False
    report = {
        "requests": tally.requests,
        "events": tally.events,
        "seconds": time.perf_counter() - began,
        "load_cpu": time.process_time() - cpu,
        "failures": tally.failures,
        "p50_ms": quantile(tally.milliseconds, 0.5),
        "p99_ms": quantile(tally.milliseconds, 0.99),
        "first_p50_ms": quantile(tally.first_event_ms, 0.5),
    }
    print(orjson.dumps(report).decode(), flush=True)
    for client in clients:
        client.stop()
    await asyncio.gather(*(client.closed for client in clients))


if __name__ == "__main__":
    uvloop.run(run(orjson.loads(sys.argv[1])))
