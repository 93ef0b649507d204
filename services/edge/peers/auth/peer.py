"""Who is calling: principals by key digest, from a cache that auth can take back within a second (G6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Protocol

import grpc

from common.reasons import Reason
from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from servicekit.rpc.client import Peer
from servicekit.rpc.status import RpcFailure
from services.edge.peers import metrics
from services.edge.peers.auth.principals import Principal, PrincipalCache
from services.edge.peers.auth.refused_keys import RefusedKeys
from services.edge.peers.auth.session import KeyWatch
from services.edge.peers.errors import Failure, KeyRefused, KeyRevoked, Service, Unavailable
from services.edge.peers.failed_call import from_failed_call
from services.edge.peers.streaming.link import Link
from services.edge.peers.streaming.replicas import Replicas
from services.edge.peers.streaming.state import StreamState

log = get_logger(__name__)

MAX_LOOKUPS = 32  # calls of Authenticate under way at once; auth answers them together
CALL_TIMEOUT = 2.0  # seconds for one Authenticate
ROUNDS, ROUND_PAUSE = 12, 0.05  # seconds; together less than the second within which a client has its 503 (G7)
ATTEMPTS = 5  # answers that were overtaken by a change before we give up
REVALIDATE_PAUSE = 0.1  # seconds between questions that auth could not answer
GUARD_INTERVAL = 0.1  # seconds between looks at the clock

# Of a key, and not of this edge (CALLER_UNKNOWN).
KEY_REASONS = frozenset({Reason.KEY_UNKNOWN, Reason.KEY_REVOKED, Reason.KEY_EXPIRED, Reason.ACCOUNT_SUSPENDED})
_KIND = auth_pb2.KeyChange


class RunningAnswers(Protocol):
    """The answers that run under keys; what auth takes back ends them."""

    def digests(self) -> Iterable[bytes]:
        """The digests of the keys that have answers running or being opened."""
        ...

    def end_key(self, account_id: str, key_id: str, error: Callable[[], Failure]) -> None:
        """Ends the answers of a key; of the whole account when key_id is empty."""
        ...

    def end_digest(self, digest: bytes, error: Callable[[], Failure]) -> None:
        """Ends the answers opened with this digest."""
        ...

    def end_all(self, error: Callable[[], Failure]) -> None:
        """Ends every answer."""
        ...


class AuthPeer:
    """Resolves digests. Trusts nothing once no heartbeat was answered for session_ttl, counted from sending it."""

    def __init__(
        self,
        replicas: Replicas[Peer],
        running: RunningAnswers,
        clock: Clock,
        *,
        edge_name: str,
        cache_size: int = 100_000,
    ) -> None:
        self._replicas = replicas
        self._running = running
        self._clock = clock
        self._cache = PrincipalCache(cache_size)
        self._refused = RefusedKeys(clock)
        self._gate = asyncio.Semaphore(MAX_LOOKUPS)
        self._asking: dict[bytes, asyncio.Task[Principal]] = {}
        self._watch = KeyWatch(replicas, self, clock, edge_name)
        self._link = Link(self._watch, clock)
        self._watch.wake = self._link.wake
        self._tasks: set[asyncio.Task[None]] = set()
        self._session_open = asyncio.Event()
        self._trusting = False

    @property
    def trusted(self) -> bool:
        """True while revocations are known to reach us."""
        return self._clock.monotonic() < self._watch.lapses_at

    def streams(self) -> list[StreamState]:
        """The one stream of key changes, once a replica is known."""
        address, up = self._watch.address, self._watch.up
        return [StreamState("auth", address, address, up, up)] if address else []

    def start(self) -> None:
        """Opens the stream of key changes, as soon as a replica is known."""
        self._replicas.watch(self._watch.replicas_changed)
        self._keep(self._open())
        self._keep(self._guard())

    async def wait_ready(self) -> None:
        """Returns when the first session is open."""
        await self._session_open.wait()

    async def close(self) -> None:
        """Ends the stream and all calls. The replicas are closed by who made them."""
        tasks = [*self._tasks, *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._link.close()

    def remembered(self, digest: bytes) -> Principal | None:
        """The cached principal if it may be used now. Raises KeyRefused (expired), Unavailable (no trust)."""
        if not self.trusted:
            raise Unavailable(Service.AUTH)
        principal = self._cache.get(digest)
        if principal is not None:
            self._check_expiry(principal)
        return principal

    async def authenticate(self, digest: bytes) -> Principal:
        """The key's principal. Raises KeyRefused, and Unavailable when auth cannot be asked or trusted."""
        principal = self.remembered(digest)
        if principal is not None:
            metrics.CACHE_HITS.inc()
            return principal
        metrics.CACHE_MISSES.inc()
        if (refusal := self._refused.get(digest)) is not None:
            raise from_authenticate(refusal)
        for _ in range(ATTEMPTS):
            try:
                await asyncio.shield(self._ask(digest))
            except RpcFailure as failure:
                raise from_authenticate(failure) from None
            principal = self.remembered(digest)  # a revocation may have come before this task's turn
            if principal is not None:
                return principal
        raise Unavailable(Service.AUTH)

    # What the key watch tells

    def session_began(self, old_lapse: float) -> None:
        """Forgets all; keys in use are asked again, and what is not confirmed by old_lapse ends."""
        self._cache.clear()
        self._refused.clear()
        self._trusting = True
        self._session_open.set()
        in_use = set(self._running.digests())
        if in_use:
            self._keep(self._revalidate(in_use, old_lapse))

    def session_resumed(self) -> None:
        """Keeps all: what changed since the last session follows on this one."""
        self._trusting = True
        self._session_open.set()

    def change(self, change: auth_pb2.KeyChange) -> None:
        """Puts one change in force; the acknowledgement goes out after this returns."""
        self._refused.clear()
        if change.kind == _KIND.KIND_KEY_REVOKED:
            self._cache.forget(account_id=change.account_id, key_id=change.key_id)
            self._running.end_key(change.account_id, change.key_id, KeyRevoked)
        elif change.kind == _KIND.KIND_ACCOUNT_SUSPENDED:
            self._cache.forget(account_id=change.account_id)
            self._running.end_key(change.account_id, "", KeyRevoked)
        else:
            self._cache.forget(account_id=change.account_id)
        log.info("key_change", kind=change.kind, sequence=change.sequence, account_id=change.account_id)

    # Asking

    def _ask(self, digest: bytes) -> asyncio.Task[Principal]:
        """One call for all who miss a digest together. It outlives its askers: no client cancels another's."""
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.create_task(self._fetch(digest))
            self._asking[digest] = task
            task.add_done_callback(lambda done: self._asked(digest, done))
        return task

    def _asked(self, digest: bytes, task: asyncio.Task[Principal]) -> None:
        if self._asking.get(digest) is task:
            del self._asking[digest]
        if not task.cancelled():
            task.exception()  # seen, even when every asker has left

    async def _fetch(self, digest: bytes) -> Principal:
        """Asks until the answer is as new as the changes applied here, so that none can be older than a revocation."""
        for _ in range(ATTEMPTS):
            async with self._gate:
                response = await self._ask_once(digest)
            if response.as_of_sequence >= self._watch.applied:
                principal = Principal.from_proto(response.principal)
                self._cache.put(digest, principal)
                return principal
        log.warning("authenticate_overtaken", attempts=ATTEMPTS)
        raise RpcFailure(grpc.StatusCode.UNAVAILABLE, "changes kept overtaking the answer")

    async def _ask_once(self, digest: bytes) -> auth_pb2.AuthenticateResponse:
        generation = self._refused.generation
        try:
            return await self._call(digest)
        except RpcFailure as failure:
            if failure.code is grpc.StatusCode.UNAUTHENTICATED and failure.reason in KEY_REASONS:
                self._refused.put(digest, failure, generation)
            raise

    async def _call(self, digest: bytes) -> auth_pb2.AuthenticateResponse:
        """Read-only, so one replica after the other is asked, for a moment. Raises RpcFailure.

        One that has come back may not be connected yet when the other begins to drain.
        """
        request = auth_pb2.AuthenticateRequest(key_digest=digest)
        away = RpcFailure(grpc.StatusCode.UNAVAILABLE, "no replica was asked")
        for _ in range(ROUNDS):
            for peer in (self._watch.peer, self._watch.spare):
                stub = auth_pb2_grpc.AuthStub(peer.channel)
                try:
                    return await peer.call(stub.Authenticate, request, timeout=CALL_TIMEOUT)
                except RpcFailure as failure:
                    if failure.code is not grpc.StatusCode.UNAVAILABLE or failure.reason:
                        raise
                    away = failure
            await asyncio.sleep(ROUND_PAUSE)
        raise away

    def _check_expiry(self, principal: Principal) -> None:
        if principal.expires_at_us is not None and self._clock.now_us() >= principal.expires_at_us:
            raise KeyRefused(Reason.KEY_EXPIRED)

    async def _open(self) -> None:
        await self._replicas.known()
        self._link.start()

    # Keeping trust

    async def _revalidate(self, digests: set[bytes], old_lapse: float) -> None:
        """A key may have been revoked between two sessions: running answers go on only under keys confirmed anew."""

        async def confirm(digest: bytes) -> None:
            while not await self._confirmed(digest):  # noqa: ASYNC110  (asks again, waits for no event)
                await asyncio.sleep(REVALIDATE_PAUSE)

        left = max(0.0, old_lapse - self._clock.monotonic())
        confirmations = {digest: asyncio.create_task(confirm(digest)) for digest in digests}
        try:
            await asyncio.wait(confirmations.values(), timeout=left)
        finally:
            for digest, task in confirmations.items():
                if not task.done():
                    task.cancel()
                    self._running.end_digest(digest, _unavailable)

    async def _confirmed(self, digest: bytes) -> bool:
        """Asks once; ends the answers of a key that works no more. False: auth could not say."""
        try:
            await asyncio.shield(self._ask(digest))
        except RpcFailure as failure:
            if failure.code is not grpc.StatusCode.UNAUTHENTICATED or not failure.reason:
                return False
            self._running.end_digest(digest, KeyRevoked)
        return True

    async def _guard(self) -> None:
        """Ends what runs when trust lapses: a revocation that we cannot hear of may be in force by then."""
        while True:
            await asyncio.sleep(GUARD_INTERVAL)
            if self._trusting and not self.trusted:
                self._trusting = False
                log.error("auth_trust_lapsed")
                self._cache.clear()
                self._running.end_all(_unavailable)
            elif self.trusted:
                self._trusting = True

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def from_authenticate(failure: RpcFailure) -> Failure:
    """What a failed Authenticate is."""
    if failure.code is grpc.StatusCode.UNAUTHENTICATED and failure.reason in KEY_REASONS:
        return KeyRefused(Reason(failure.reason))
    return from_failed_call(failure, Service.AUTH)


def _unavailable() -> Failure:
    return Unavailable(Service.AUTH)
