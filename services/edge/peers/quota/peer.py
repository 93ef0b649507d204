"""What may be spent: holds on the session of the account's replica, and the usage that was charged."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

import grpc

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.clock import Clock
from servicekit.rpc.client import Peer
from servicekit.rpc.status import RpcFailure
from services.edge.peers.errors import Service, TooManyHolds, Unavailable
from services.edge.peers.quota.from_quota import from_query
from services.edge.peers.quota.hold import Hold
from services.edge.peers.quota.reports import AccountUsage, ReceiptPage, to_page, to_usage
from services.edge.peers.quota.session import QuotaLink
from services.edge.peers.streaming.replicas import Replica, Replicas
from services.edge.peers.streaming.state import StreamState
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings

CALL_TIMEOUT = 5.0  # seconds for one unary call
MAX_UNFINISHED = 10_000  # holds without an acknowledged end, above which nothing new is admitted; the setting's default
GUARD_INTERVAL = 0.1  # seconds between looks at the leases


class QuotaPeer:
    """One session for each replica; an account always uses the same one, so that batches stay whole."""

    def __init__(
        self,
        replicas: Replicas[Peer],
        clock: Clock,
        *,
        edge_name: str,
        max_unfinished: int = MAX_UNFINISHED,
        timings: Timings = DEFAULT_TIMINGS,
    ) -> None:
        self._max_unfinished = max_unfinished
        self._timings = timings
        self._replicas = replicas
        self._clock = clock
        self._edge_name = edge_name
        self._links: dict[Replica[Peer], QuotaLink] = {}
        self._leaving: set[QuotaLink] = set()  # of replicas that are gone: they finish their holds elsewhere
        self._closing: set[asyncio.Task[None]] = set()
        self._guard_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Opens a stream to each replica, now and when others come."""
        self._replicas.watch(self._follow)
        self._follow()
        self._guard_task = asyncio.create_task(self._guard(), name="quota leases")

    async def wait_ready(self) -> None:
        """Returns when there are replicas and every session is open."""
        await self._replicas.known()
        for link in list(self._links.values()):
            await link.opened.wait()

    @property
    def up(self) -> bool:
        """True while some session is open or was a moment ago."""
        return any(link.down_for() < self._timings.down_timeout for link in self._links.values())

    @property
    def unfinished(self) -> int:
        """Holds whose end quota has not acknowledged."""
        return sum(link.unfinished for link in self._all())

    def streams(self) -> list[StreamState]:
        """The session of each replica, and of those that are gone while they finish their holds elsewhere."""
        open_to_work = set(self._links.values())
        return [
            StreamState(
                "quota", link.home.address, link.at.address, link.up, link.up and link in open_to_work, link.unfinished
            )
            for link in self._all()
        ]

    async def drained(self, timeout: float) -> bool:
        """Waits up to timeout seconds for every hold's end to be acknowledged."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while self.unfinished and loop.time() < until:  # noqa: ASYNC110  (once, at shutdown)
            await asyncio.sleep(0.02)
        return not self.unfinished

    async def close(self) -> None:
        """Ends the streams. The replicas are closed by who made them."""
        if self._guard_task is not None:
            self._guard_task.cancel()
            await asyncio.wait({self._guard_task})
        await asyncio.gather(*self._closing, *(link.link.close() for link in self._all()))

    def link_of(self, account_id: str) -> QuotaLink:
        """The account's session. Raises Unavailable when it is down, TooManyHolds at this worker's bound."""
        replica = self._home_of(account_id)
        link = self._links[replica]
        if link.down_for() >= self._timings.down_timeout:
            raise Unavailable(Service.QUOTA)
        if self.unfinished >= self._max_unfinished:
            raise TooManyHolds
        return link

    def hold(self, account_id: str, wake: Callable[[], None]) -> tuple[QuotaLink, Hold]:
        """A hold yet to be reserved, and the session that carries it. Raises what link_of raises."""
        link = self.link_of(account_id)
        return link, link.hold(wake)

    async def usage(self, account_id: str, start_day: str, end_day: str) -> AccountUsage:
        """Charged usage of UTC days YYYY-MM-DD, both inclusive. Raises QueryRefused, Unavailable."""
        request = quota_pb2.GetUsageRequest(account_id=account_id, start_day=start_day, end_day=end_day)
        return to_usage(await self._read("GetUsage", account_id, request))

    async def charges(self, account_id: str, limit: int, after: str) -> ReceiptPage:
        """Receipts, newest first, older than the one with the id `after`. Raises QueryRefused, Unavailable."""
        request = quota_pb2.ListChargesRequest(account_id=account_id, page_size=limit, page_token=after)
        return to_page(await self._read("ListCharges", account_id, request))

    async def _read(self, method: str, account_id: str, request: Any) -> Any:
        """Read-only, so a replica that is away or draining is replaced by the next one once."""
        replica = self._links[self._home_of(account_id)].at
        try:
            try:
                return await self._call(replica, method, request)
            except RpcFailure as failure:
                if failure.code is not grpc.StatusCode.UNAVAILABLE or failure.reason:
                    raise
                return await self._call(self._replicas.after(replica), method, request)
        except RpcFailure as failure:
            raise from_query(failure) from None

    async def _call(self, replica: Replica[Peer], method: str, request: Any) -> Any:
        peer = replica.connection
        stub = quota_pb2_grpc.QuotaStub(peer.channel)
        return await peer.call(getattr(stub, method), request, timeout=CALL_TIMEOUT)

    def _home_of(self, account_id: str) -> Replica[Peer]:
        """Of the replicas whose session is open, by rendezvous hashing: when one comes or goes only its own accounts
        move. Raises Unavailable when there is none at all."""
        if not self._links:
            raise Unavailable(Service.QUOTA)
        open_now = [replica for replica, link in self._links.items() if link.up]
        account = zlib.crc32(account_id.encode())
        return max(open_now or self._links, key=lambda replica: _weight(account, replica.address))

    def _follow(self) -> None:
        """The replicas are others than before."""
        for replica in self._replicas.now:
            if replica not in self._links:
                link = QuotaLink(self._replicas, replica, self._clock, self._edge_name, self._timings)
                self._links[replica] = link
                link.link.start()
        for replica in [each for each in self._links if each not in self._replicas.now]:
            self._leaving.add(self._links.pop(replica))
        for link in self._all():
            link.replicas_changed()

    async def _guard(self) -> None:
        while True:
            await asyncio.sleep(GUARD_INTERVAL)
            for link in self._all():
                link.check_lease()
                link.return_home()
            for link in [each for each in self._leaving if not each.unfinished]:
                self._leaving.discard(link)
                task = asyncio.create_task(link.link.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    def _all(self) -> list[QuotaLink]:
        return [*self._links.values(), *self._leaving]


def _weight(account: int, address: str) -> int:
    """CRCs alone are no hash here: of two replicas they would differ by the same bits for every account."""
    return ((account ^ zlib.crc32(address.encode())) * 0x9E3779B1) & 0xFFFFFFFF
