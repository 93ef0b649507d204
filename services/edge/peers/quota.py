"""What may be spent: holds on the session of the account's replica, and the usage that was charged."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.client import Peer
from servicekit.clock import Clock
from servicekit.rpc_status import RpcFailure
from services.edge.http_errors import ApiError, from_rpc_failure
from services.edge.peers.hold import Hold
from services.edge.peers.quota_link import QuotaLink

CALL_TIMEOUT = 5.0  # seconds for one unary call
UNFINISHED_MOST = 10_000  # holds without an acknowledged end, above which nothing new is admitted
DOWN_PATIENCE = 1.0  # seconds without a stream after which requests fail at once instead of waiting
GUARD_INTERVAL = 0.1  # seconds between looks at the leases


class QuotaPeer:
    """One session for each replica address; an account always uses the same one, so that batches stay whole."""

    def __init__(self, peers: list[Peer], clock: Clock, *, edge_name: str) -> None:
        self._peers = peers
        self._links = [QuotaLink(peers, index, clock, edge_name) for index in range(len(peers))]
        self._guard_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Opens the streams."""
        for link in self._links:
            link.link.start()
        self._guard_task = asyncio.create_task(self._guard(), name="quota leases")

    async def wait_ready(self) -> None:
        """Returns when every session is open."""
        for link in self._links:
            await link.opened.wait()

    @property
    def up(self) -> bool:
        """True while some session is open or was a moment ago."""
        return any(link.down_for() < DOWN_PATIENCE for link in self._links)

    @property
    def unfinished(self) -> int:
        """Holds whose end quota has not acknowledged."""
        return sum(link.unfinished for link in self._links)

    async def drained(self, timeout: float) -> bool:
        """Waits up to timeout seconds for every hold's end to be acknowledged."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while self.unfinished and loop.time() < until:  # noqa: ASYNC110  (once, at shutdown)
            await asyncio.sleep(0.02)
        return not self.unfinished

    async def close(self) -> None:
        """Ends the streams. The peers are closed by who made them."""
        if self._guard_task is not None:
            self._guard_task.cancel()
            await asyncio.wait({self._guard_task})
        for link in self._links:
            await link.link.close()

    def link_of(self, account_id: str) -> QuotaLink:
        """The account's session. Raises ApiError 503 when it is down or owes too many acknowledgements."""
        link = self._links[zlib.crc32(account_id.encode()) % len(self._links)]
        if link.down_for() >= DOWN_PATIENCE or self.unfinished >= UNFINISHED_MOST:
            raise unavailable()
        return link

    def hold(self, account_id: str, wake: Callable[[], None]) -> tuple[QuotaLink, Hold]:
        """A hold yet to be reserved, and the session that carries it. Raises ApiError 503 like link_of."""
        link = self.link_of(account_id)
        return link, link.hold(wake)

    async def usage(self, account_id: str, start_day: str, end_day: str) -> quota_pb2.GetUsageResponse:
        """Charged usage of UTC days YYYY-MM-DD, both inclusive. Raises ApiError 400 or 503."""
        request = quota_pb2.GetUsageRequest(account_id=account_id, start_day=start_day, end_day=end_day)
        response: quota_pb2.GetUsageResponse = await self._read("GetUsage", account_id, request)
        return response

    async def charges(self, account_id: str, limit: int, after: str) -> quota_pb2.ListChargesResponse:
        """Receipts, newest first, older than the one with the id `after`. Raises ApiError 400 or 503."""
        request = quota_pb2.ListChargesRequest(account_id=account_id, page_size=limit, page_token=after)
        response: quota_pb2.ListChargesResponse = await self._read("ListCharges", account_id, request)
        return response

    async def _read(self, method: str, account_id: str, request: Any) -> Any:
        peer = self._peers[zlib.crc32(account_id.encode()) % len(self._peers)]
        stub = quota_pb2_grpc.QuotaStub(peer.channel)
        try:
            return await peer.call(getattr(stub, method), request, timeout=CALL_TIMEOUT)
        except RpcFailure as failure:
            raise from_rpc_failure(failure, "quota") from None

    async def _guard(self) -> None:
        while True:
            await asyncio.sleep(GUARD_INTERVAL)
            for link in self._links:
                link.check_lease()


def unavailable() -> ApiError:
    """503: quota did not answer."""
    return ApiError.service_unavailable("Credits cannot be checked at the moment. Try again.")
