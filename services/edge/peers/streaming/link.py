"""One bidi stream that is kept open: hello, welcome, both directions, heartbeats, and again after every break."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from servicekit.observability.outage_log import OutageLog
from servicekit.rpc.client import Peer
from servicekit.rpc.status import RpcFailure
from services.edge.peers import metrics
from services.edge.peers.streaming.wakeup import Wakeup

log = get_logger(__name__)

WELCOME_TIMEOUT = 2.0  # seconds
LONGEST_PAUSE = 1.0  # seconds between attempts
STEADY = 1.0  # seconds after which a stream counts as having worked
GOODBYE_PATIENCE = 0.5  # seconds that closing waits for the peer to have heard that we leave


class StreamBroken(Exception):
    """The stream cannot be used any more: ended, silent, leaving, or the peer broke the protocol."""


class PeerLeaves(StreamBroken):
    """The peer is to be left in peace: the next stream is opened before this one ends. Raised by outgoing() alone."""


class Side(Protocol):
    """What one peer's stream says. All methods are plain functions: nothing here waits, so nothing can be half done."""

    name: str

    def open(self) -> Any:
        """The call, opened at the replica that is next."""
        ...

    @property
    def peer(self) -> Peer:
        """Where the call was opened."""
        ...

    def hello(self) -> Any:
        """The first message of a stream."""
        ...

    def welcomed(self, response: Any, hello_sent: float) -> float | None:
        """Takes the first answer; gives seconds between heartbeats, None for none. Raises StreamBroken."""
        ...

    def outgoing(self) -> Any | None:
        """The next message to send, made of all that has queued; None: nothing has. Raises PeerLeaves, StreamBroken."""
        ...

    def incoming(self, response: Any) -> None:
        """Takes a message. Raises StreamBroken when the stream should be left."""
        ...

    def beat(self) -> None:
        """A heartbeat is due. Raises StreamBroken when earlier ones stayed unanswered."""
        ...

    def broken(self) -> None:
        """The stream has ended; what was in flight on it is unknown."""
        ...


class Link:
    """Supervises one Side's stream. A break is answered by opening again at once, then with pauses up to a second."""

    def __init__(self, side: Side, clock: Clock) -> None:
        self._side = side
        self._clock = clock
        self._wake = Wakeup()
        self._task: asyncio.Task[None] | None = None
        self._talking = self._closing = False
        self._call: Any = None  # the stream that is listened to
        self._former: _Former | None = None  # one whose peer is to be left
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._outage = OutageLog(log, "stream_broken", "stream_restored", calm=0.0, now=clock.monotonic)
        self._open = metrics.STREAMS_OPEN.labels(side.name)
        self._reconnects = metrics.RECONNECTS.labels(side.name)

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    def start(self) -> None:
        """Opens the stream in a task of its own and keeps it open until close()."""
        self._task = asyncio.create_task(self._keep_open(), name=f"{self._side.name} stream")

    async def close(self) -> None:
        """Sends what has queued, says goodbye by ending our side, and ends the stream; safe to call twice.

        Auth forgets a session that said goodbye at once, where it must wait for one that merely broke.
        """
        task, self._task = self._task, None
        if task is None:
            return
        if self._talking:
            self._closing = True
            self._wake.set()
            await asyncio.wait({task}, timeout=GOODBYE_PATIENCE)
        task.cancel()
        await asyncio.wait({task, *self._goodbyes})
        if self._former is not None:
            await self._former.say_goodbye()

    async def _keep_open(self) -> None:
        failures = 0
        while True:
            opened = self._clock.monotonic()
            reason = await self._one_stream()
            if self._closing:
                return
            failures = 0 if self._clock.monotonic() - opened >= STEADY else failures + 1
            if failures == 0:
                log.info("stream_broken", peer=self._side.name, reason=reason)
            else:
                self._outage.failed(peer=self._side.name, reason=reason)
            self._reconnects.inc()
            await asyncio.sleep(reconnect_pause(failures))

    async def _one_stream(self) -> str:
        """Lives through one stream; says why it ended. A defect in a handler costs the stream, never the supervisor."""
        call = None
        try:
            call = self._call = self._side.open()
            interval = await self._greet(call)
            self._outage.succeeded(peer=self._side.name)
            self._leave_former()
            with self._open.track_inprogress():
                await self._converse(call, interval)
        except PeerLeaves as error:
            call = None  # goes on until there is another
            return str(error)
        except (StreamBroken, RpcFailure) as error:
            return str(error)
        except TimeoutError:
            return "no welcome in time"
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            return f"closed: {error}"
        except Exception:
            log.exception("stream_defect", peer=self._side.name)
            return "defect"
        finally:
            self._call = None
            if call is not None:
                call.cancel()
            self._side.broken()
            if call is not None:
                await self._drop_former()
        return "ended"

    def _leave_former(self) -> None:
        """A new stream stands in for the former one, whose peer may forget us now."""
        if self._former is not None:
            task = asyncio.create_task(self._former.say_goodbye())
            self._former = None
            self._goodbyes.add(task)
            task.add_done_callback(self._goodbyes.discard)

    async def _drop_former(self) -> None:
        """No new stream stands in for it: its peer must not think that we trust nothing any more."""
        if self._former is not None:
            former, self._former = self._former, None
            await former.drop()

    async def _greet(self, call: Any) -> float | None:
        async with asyncio.timeout(WELCOME_TIMEOUT):
            await self._side.peer.verified(WELCOME_TIMEOUT)
            sent = self._clock.monotonic()
            await call.write(self._side.hello())
            response = await call.read()
        if response is grpc.aio.EOF:
            raise StreamBroken(f"{(await call.code()).name}: {await call.details()}")
        return self._side.welcomed(response, sent)

    async def _converse(self, call: Any, interval: float | None) -> None:
        self._wake.set()
        self._talking = True
        reader = asyncio.create_task(self._read(call))
        tasks = [reader, asyncio.create_task(self._write(call))]
        if interval is not None:
            tasks.append(asyncio.create_task(self._beat(interval)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except PeerLeaves:
            tasks.remove(reader)  # to cancel it would cancel the call; nobody listens to it any more
            self._former = _Former(call, reader)
            raise
        finally:
            self._talking = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, call: Any) -> None:
        while (response := await call.read()) is not grpc.aio.EOF:
            if call is self._call:
                self._side.incoming(response)
        raise StreamBroken(f"{(await call.code()).name}: {await call.details()}")

    async def _write(self, call: Any) -> None:
        """Sends what queued during the previous write, and what queues in one iteration of the loop as one message; no
        timer, so nothing waits and nothing goes alone under load."""
        while True:
            await self._wake.wait()
            while (message := self._side.outgoing()) is not None:
                await call.write(message)
            if self._closing:
                await call.done_writing()
                await asyncio.get_running_loop().create_future()  # the reader sees the peer's end, or close() gives up

    async def _beat(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self._side.beat()
            self._wake.set()


@dataclass(frozen=True)
class _Former:
    """A stream that is left in peace, and the task that reads it to its end."""

    call: Any
    reader: asyncio.Task[None]

    async def say_goodbye(self) -> None:
        """Ends our side and waits a little until the peer has taken note. What it still sends concerns nobody."""
        try:
            async with asyncio.timeout(GOODBYE_PATIENCE):
                await self.call.done_writing()
                await asyncio.wait({self.reader})
        except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            log.info("goodbye_unheard", problem=str(error) or "no answer in time")
        finally:
            await self.drop()

    async def drop(self) -> None:
        """Cancels the call."""
        self.call.cancel()
        await asyncio.gather(self.reader, return_exceptions=True)


def reconnect_pause(failures: int) -> float:
    """Seconds before the next attempt: none after a stream that worked, then doubling with jitter up to a second."""
    if failures == 0:
        return 0.0
    longest = min(LONGEST_PAUSE, 0.02 * 2 ** min(failures, 10))
    return float(random.uniform(longest / 2, longest))
