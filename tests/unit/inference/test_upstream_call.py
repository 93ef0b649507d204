"""One call's states, and what it does with its connection; no socket is opened."""

from __future__ import annotations

import asyncio

import pytest

from services.inference.engines.upstream.http.call import DRAIN_TIMEOUT, MAX_DRAIN, MOVES, RunningCall, Stage
from services.inference.engines.upstream.http.connection import HttpConnection
from services.inference.engines.upstream.http.origin import Origin
from services.inference.engines.upstream.http.receiver import HttpFailure, HttpFault
from tests.fakes_wire import Wire
from tests.integration.inference.http_receivers import Recorder

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"5\r\nhello\r\n"
END = b"0\r\n\r\n"


class Exchange:
    """A call, its connection and its receiver. Implements Lines."""

    def __init__(self) -> None:
        self.wire, self.connection, self.receiver = Wire(), HttpConnection(), Recorder()
        self.connection.connection_made(self.wire)
        self.kept: list[HttpConnection] = []
        self.opened = 0
        loop = asyncio.get_running_loop()
        self.call = RunningCall(Origin(False, "a", 80), b"GET / HTTP/1.1\r\n\r\n", self.receiver, self, loop)

    def open(self, call: RunningCall) -> asyncio.Task[None]:
        self.opened += 1
        return asyncio.ensure_future(asyncio.sleep(60))

    def give_back(self, origin: Origin, connection: HttpConnection) -> None:
        if connection.release():
            self.kept.append(connection)

    def forget(self, call: RunningCall) -> None:
        pass


@pytest.fixture
async def exchange() -> Exchange:
    return Exchange()


async def test_a_call_is_sent_read_and_over(exchange: Exchange) -> None:
    exchange.call.send_on(exchange.connection)
    assert exchange.wire.sent == b"GET / HTTP/1.1\r\n\r\n"
    for data in (HEAD[:20], HEAD[20:], CHUNK + CHUNK, END):
        exchange.connection.data_received(data)
    assert exchange.receiver.said == ["head", "data", "end"]
    assert exchange.receiver.body == b"hellohello"
    assert exchange.kept == [exchange.connection]


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("event", ["sent", "retry", "head", "left", "over"])
def test_every_move_is_listed_or_none(stage: Stage, event: str) -> None:
    legal = {
        "sent": {Stage.CONNECTING},
        "retry": {Stage.WAITING},
        "head": {Stage.WAITING},
        "left": {Stage.WAITING, Stage.READING},
        "over": set(Stage) - {Stage.OVER},
    }
    assert ((stage, event) in MOVES) is (stage in legal[event])


async def test_a_call_is_not_sent_twice_nor_after_its_end(exchange: Exchange) -> None:
    exchange.call.send_on(exchange.connection)
    with pytest.raises(KeyError):
        exchange.call.send_on(exchange.connection)
    exchange.call.cancel()
    with pytest.raises(KeyError):
        exchange.call.send_on(exchange.connection)


async def test_leaving_takes_an_end_that_comes_and_no_more_than_a_little_before_it(exchange: Exchange) -> None:
    exchange.call.send_on(exchange.connection)
    exchange.connection.data_received(HEAD + CHUNK)
    exchange.call.leave()
    exchange.connection.data_received(CHUNK)
    assert not exchange.wire.aborted
    exchange.connection.data_received(END)
    assert exchange.kept == [exchange.connection]

    other = Exchange()
    other.call.send_on(other.connection)
    other.connection.data_received(HEAD + CHUNK)
    other.call.leave()
    other.connection.data_received(b"%x\r\n" % (MAX_DRAIN + 1) + b"x" * (MAX_DRAIN + 1))
    assert other.wire.aborted
    assert (exchange.receiver.said, other.receiver.said) == (["head", "data"], ["head", "data"])


async def test_leaving_takes_no_end_that_is_late_or_failed(exchange: Exchange) -> None:
    exchange.call.send_on(exchange.connection)
    exchange.connection.data_received(HEAD + CHUNK)
    exchange.call.leave()
    await asyncio.sleep(DRAIN_TIMEOUT + 0.02)
    assert exchange.wire.aborted

    other = Exchange()
    other.call.send_on(other.connection)
    other.connection.data_received(HEAD + CHUNK)
    other.call.leave()
    other.connection.data_received(b"nonsense\r\n")
    assert other.wire.aborted
    assert other.kept == []
    assert (exchange.receiver.said, other.receiver.said) == (["head", "data"], ["head", "data"])


async def test_a_pause_lasts_until_it_is_resumed_or_left_and_goes_over_to_no_other_call(exchange: Exchange) -> None:
    exchange.call.pause()
    exchange.call.send_on(exchange.connection)
    assert not exchange.wire.reading
    exchange.call.resume()
    assert exchange.wire.reading
    exchange.call.pause()
    exchange.call.leave()
    assert exchange.wire.reading
    exchange.call.pause()
    assert exchange.wire.reading
    exchange.connection.data_received(HEAD + END)
    assert exchange.kept == [exchange.connection]

    other = Exchange()
    other.call.send_on(other.connection)
    other.call.pause()
    other.connection.data_received(HEAD + END)
    assert other.wire.reading
    assert other.kept == [other.connection]


async def test_a_used_connection_that_ends_without_a_byte_is_followed_by_a_new_one(exchange: Exchange) -> None:
    exchange.connection.used = True
    exchange.call.send_on(exchange.connection)
    exchange.connection.connection_lost(ConnectionResetError())
    assert (exchange.opened, exchange.receiver.said) == (1, [])
    fresh = HttpConnection()
    fresh.connection_made(Wire())
    exchange.call.send_on(fresh)
    fresh.connection_lost(ConnectionResetError())
    assert (exchange.opened, exchange.receiver.said) == (1, ["error"])


async def test_stopping_reports_once(exchange: Exchange) -> None:
    exchange.call.send_on(exchange.connection)
    for _ in range(2):
        exchange.call.stop(HttpFailure(HttpFault.CUT, "over"))
    assert exchange.wire.aborted
    assert exchange.receiver.said == ["error"]
