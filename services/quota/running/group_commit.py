"""Group commit: one writer an account shard takes what has queued and applies it in one transaction.

Without load no operation waits for another. A batch that one of its operations makes fail is applied again one by one,
so that the others succeed. When the database does not answer, every operation of the batch is refused as UNAVAILABLE;
its sender repeats it, which is harmless.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from zlib import crc32

from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger
from services.quota.domain.operations import Grant, Operation, Progress, Refund, Reserve, Settle
from services.quota.domain.outcomes import Outcome, Reason, Refused

log = get_logger(__name__)

MAX_IN_BATCH = 64
MAX_QUEUED = 16_384  # operations in one shard; more are refused at once
MAX_REMEMBERED = 200_000  # open holds whose shard is known; of older ones the hold_id decides

Apply = Callable[[Sequence[Operation]], Awaitable[list[Outcome]]]
Done = Callable[[Outcome], None]


class Shard:
    """One writer. `submit` never waits; the outcome comes to the callback, always exactly once."""

    def __init__(self, apply: Apply, observe: Callable[[int], None]) -> None:
        self._apply = apply
        self._observe = observe
        self._queue: deque[tuple[Operation, Done]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, operation: Operation, done: Done) -> None:
        """Queues an operation; a full queue refuses it as UNAVAILABLE."""
        if len(self._queue) >= MAX_QUEUED:
            done(Refused(Reason.UNAVAILABLE, detail="the ledger's queue is full"))
            return
        self._queue.append((operation, done))
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Applies batches until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_IN_BATCH))]
                self._observe(len(batch))
                await self._commit(batch)
            self._idle.set()

    @property
    def queued(self) -> int:
        """Operations that wait."""
        return len(self._queue)

    async def drained(self) -> None:
        """Waits until nothing is queued or under way."""
        await self._idle.wait()

    async def _commit(self, batch: list[tuple[Operation, Done]]) -> None:
        try:
            outcomes = await self._apply([operation for operation, _ in batch])
        except DatabaseUnavailable as error:
            outcomes = [Refused(Reason.UNAVAILABLE, detail=error.message)] * len(batch)
        except Exception as error:
            if len(batch) > 1:
                for single in batch:
                    await self._commit([single])
                return
            log.exception("operation_failed", operation=type(batch[0][0]).__name__, error=type(error).__name__)
            outcomes = [Refused(Reason.UNAVAILABLE, detail="the operation failed; see quota's log")]
        for (_, done), outcome in zip(batch, outcomes, strict=True):
            done(outcome)


class Writer:
    """All shards. An account's operations go to one of them, so that batches seldom wait for each other's locks.

    Which shard is a matter of speed, not of correctness: the store locks accounts.
    """

    def __init__(self, apply: Apply, *, shards: int, observe: Callable[[int], None]) -> None:
        self._shards = [Shard(apply, observe) for _ in range(shards)]
        self._of_hold: OrderedDict[bytes, Shard] = OrderedDict()

    def submit(self, operation: Operation, done: Done) -> None:
        """Queues an operation; the outcome comes to the callback exactly once."""
        if isinstance(operation, Grant | Refund):
            self._shard(operation.account_id.encode()).submit(operation, done)
            return
        if isinstance(operation, Reserve):
            shard = self._of_hold[operation.hold_id] = self._shard(operation.account_id.encode())
            if len(self._of_hold) > MAX_REMEMBERED:
                self._of_hold.popitem(last=False)
        elif isinstance(operation, Progress) or (isinstance(operation, Settle) and operation.unconfirmed):
            shard = self._of_hold.get(operation.hold_id) or self._shard(operation.hold_id)
        else:  # the hold's last operation; its repeats may go anywhere
            shard = self._of_hold.pop(operation.hold_id, self._shard(operation.hold_id))
        shard.submit(operation, done)

    async def do(self, operation: Operation) -> Outcome:
        """Submits and waits for the outcome, for callers without a stream."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.submit(operation, lambda done: None if outcome.done() else outcome.set_result(done))
        return await outcome

    @property
    def queued(self) -> int:
        """Operations that wait for their transaction."""
        return sum(shard.queued for shard in self._shards)

    async def run(self) -> None:
        """Runs all shards until cancelled."""
        async with asyncio.TaskGroup() as group:
            for shard in self._shards:
                group.create_task(shard.run())

    async def drained(self) -> None:
        """Waits until every shard is idle."""
        for shard in self._shards:
            await shard.drained()

    def _shard(self, name: bytes) -> Shard:
        return self._shards[crc32(name) % len(self._shards)]
