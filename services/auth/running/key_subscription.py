"""One edge's stream of changes: hello, changes and acknowledgements, heartbeats, goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from servicekit.clock import Clock
from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger
from services.auth.domain.bell import Bell, wait_for_ring
from services.auth.domain.change import Change
from services.auth.domain.errors import AckOutOfRange, HelloExpected, SessionLapsed
from services.auth.domain.key_stream import Ack, Draining, Heartbeat, Hello, Incoming, Outgoing, Welcome
from services.auth.domain.sessions import SessionPolicy
from services.auth.domain.store import ChangeStore
from services.auth.running.heartbeats import Heartbeats
from services.auth.running.pulse import Pulse

log = get_logger(__name__)
SESSION_ID_BYTES = 16
CHANGES_AT_ONCE = 100
MAX_EDGE_NAME_LENGTH = 200


Send = Callable[[Outgoing], Awaitable[None]]


class KeySubscriptions:
    """Serves the streams of all edges that are connected to this process."""

    def __init__(
        self,
        store: ChangeStore,
        heartbeats: Heartbeats,
        pulse: Pulse,
        changed: Bell,
        acknowledged: Bell,
        policy: SessionPolicy,
        clock: Clock,
        draining: asyncio.Event,
        cache_mark: str,
    ) -> None:
        self.store = store
        self.heartbeats = heartbeats
        self.changed = changed  # rings when there may be changes to send
        self.acknowledged = acknowledged  # rings when a session has acknowledged changes or left
        self.policy = policy
        self.clock = clock
        self.draining = draining
        self.cache_mark = cache_mark
        self._pulse = pulse

    async def serve(self, incoming: AsyncIterator[Incoming], send: Send) -> None:
        """Serves one stream to its end. Raises HelloExpected, AckOutOfRange, SessionLapsed, DatabaseUnavailable.

        The session's row goes only when the edge says goodbye by closing its side: it trusts nothing then. An edge
        whose stream broke may trust its cache for the ttl, so its row stays until that has passed.
        """
        hello = await self._hello(incoming)
        session_id = hello.session_id.hex()
        async with self._pulse.beating():
            known = hello.known if hello.cache_mark == self.cache_mark else None
            sequence = await self.store.open_session(session_id, hello.edge_name, known, self.policy.ttl)
            log.info(
                "edge_session_opened",
                session_id=session_id,
                edge=hello.edge_name,
                sequence=sequence,
                resumed=known is not None and sequence == known.sequence,
            )
            subscription = KeySubscription(self, session_id, sequence, send)
            if known is not None and sequence == known.sequence:
                subscription.resumes = known.session_id
            try:
                await send(Welcome(sequence))
                await until_first_ends(
                    subscription.listen(incoming), subscription.push(), subscription.announce_draining()
                )
            finally:
                left = subscription.left
                log.info("edge_session_ended", session_id=session_id, edge=hello.edge_name, said_goodbye=left)

    async def _hello(self, incoming: AsyncIterator[Incoming]) -> Hello:
        try:
            async with asyncio.timeout(self.policy.ttl):
                first = await anext(incoming, None)
        except TimeoutError:
            first = None
        if not isinstance(first, Hello):
            raise HelloExpected("the first message of the stream must be hello")
        if len(first.session_id) != SESSION_ID_BYTES:
            raise HelloExpected(f"session_id must be {SESSION_ID_BYTES} random bytes, not {len(first.session_id)}")
        name = "".join(filter(str.isprintable, first.edge_name[:MAX_EDGE_NAME_LENGTH]))
        return Hello(first.session_id, name, first.known, first.cache_mark)


class KeySubscription:
    """One edge's stream: changes in order, what the edge has acknowledged, and its signs of life."""

    def __init__(self, shared: KeySubscriptions, session_id: str, sequence: int, send: Send) -> None:
        self._shared = shared
        self._session_id = session_id
        self._sent = sequence
        self._acknowledged = sequence
        self._unacknowledged_since: float | None = None
        self._last_number = 0
        self._unlocked_send = send
        self._sending = asyncio.Lock()
        self.left = False
        # The session before, which the edge may rely on until its first message on this one.
        self.resumes: str | None = None

    async def listen(self, incoming: AsyncIterator[Incoming]) -> None:
        """Takes the edge's messages until it closes its side, then forgets the session."""
        try:
            while True:
                # Silence ends the stream, and so does an edge that reads so slowly that we cannot answer.
                async with asyncio.timeout(self._shared.policy.ttl):
                    try:
                        message = await anext(incoming)
                    except StopAsyncIteration:
                        break
                    await self._take(message)
        except TimeoutError:
            raise SessionLapsed("nothing was heard or could be sent for too long; open a new stream") from None
        await self._close_session()

    async def push(self) -> None:
        """Sends changes in order, without end."""
        shared = self._shared
        while True:
            ring = shared.changed.listen()
            changes = await self._next_changes()
            for change in changes:
                if self._unacknowledged_since is None:
                    self._unacknowledged_since = shared.clock.monotonic()
                self._sent = change.sequence
                await self._send(change)
            if not changes:
                await ring.wait()

    async def announce_draining(self) -> None:
        """Announces once that this replica stops; the edge then leaves."""
        await self._shared.draining.wait()
        await self._send(Draining())

    async def _next_changes(self) -> list[Change]:
        shared = self._shared
        while True:
            try:
                return list(await shared.store.after(self._sent, CHANGES_AT_ONCE))
            except DatabaseUnavailable:
                # Heartbeats go unanswered meanwhile, so the edge stops trusting its cache in time by itself.
                await wait_for_ring(shared.changed.listen(), shared.policy.poll_interval)

    async def _take(self, message: Incoming) -> None:
        match message:
            case Heartbeat(number):
                self._check_not_deaf()
                if await self._record():
                    self._last_number = number
                    await self._send(Heartbeat(number))
            case Ack(sequence):
                self._acknowledge(sequence)
                if await self._record():
                    self._shared.acknowledged.ring()
            case Hello():
                raise HelloExpected("hello comes once, first; open a new stream for a new session")

    def _acknowledge(self, sequence: int) -> None:
        if sequence > self._sent:
            raise AckOutOfRange(f"change {sequence} was not sent yet; the last one sent is {self._sent}")
        self._acknowledged = max(self._acknowledged, sequence)
        caught_up = self._acknowledged == self._sent
        self._unacknowledged_since = None if caught_up else self._shared.clock.monotonic()

    def _check_not_deaf(self) -> None:
        """An edge that beats but does not act upon changes would hold up a revocation forever."""
        since, timeout = self._unacknowledged_since, self._shared.policy.ack_timeout
        if since is not None and self._shared.clock.monotonic() - since > timeout:
            raise SessionLapsed(f"change {self._sent} was not acknowledged within {timeout} s; open a new stream")

    async def _record(self) -> bool:
        """Whether the sign of life could be written. When not, it stays unanswered, and the next one tries again."""
        try:
            await self._shared.heartbeats.record(self._session_id, self._acknowledged)
            if self.resumes is not None:
                await self._shared.store.close_session(self.resumes)
                self.resumes = None
                self._shared.acknowledged.ring()
        except DatabaseUnavailable:
            return False
        return True

    async def _close_session(self) -> None:
        # grpc.aio ends the iterator alike for a closed side and for a lost connection, and cancels us only a moment
        # later (seen). A connection that is lost cannot be written to, so this tells the two apart before the row goes.
        await self._send(Heartbeat(self._last_number))
        await self._shared.store.close_session(self._session_id)
        self.left = True
        self._shared.acknowledged.ring()

    async def _send(self, message: Outgoing) -> None:
        async with self._sending:  # grpc.aio allows one write at a time
            await self._unlocked_send(message)


async def until_first_ends(main: Coroutine[Any, Any, None], *helpers: Coroutine[Any, Any, None]) -> None:
    """Runs all; returns when `main` ends, raises what any raises first. The others are then cancelled and awaited."""
    leading = asyncio.ensure_future(main)
    tasks = [leading, *(asyncio.ensure_future(helper) for helper in helpers)]
    try:
        running = set(tasks)
        while leading in running:
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
