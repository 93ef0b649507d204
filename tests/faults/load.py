"""Requests without pause while faults happen: each from an account of its own, so that each has one receipt."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.client import Client
from tests.worlds.cluster import Cluster
from tests.worlds.parts.office import Account

PLENTY = 1_000_000  # credits
WHOLE = 4  # one request in so many is not streamed
WATCHED = 20  # accounts kept for the requests that a test watches
AFTER_REFUSAL = 0.2  # seconds before the next request, when one was refused at once


class Load:
    """Keeps `at_once` requests running over all edges until it is told to stop. `clients` are all that ever ran."""

    def __init__(self, cluster: Cluster, accounts: list[Account], *, max_tokens: int) -> None:
        self.clients: list[Client] = []
        self.away: set[str] = set()  # edges that get no new requests, as a load balancer does it
        self._cluster = cluster
        self._edges = itertools.cycle(cluster.edges)
        self._accounts = accounts
        self._max_tokens = max_tokens
        self._stopping = False

    async def keep_asking(self) -> None:
        """One seat: the next request begins when the last has ended."""
        while not self._stopping and len(self._accounts) > WATCHED:
            client = self._next()
            await client.run()
            if client.received.status != 200:
                await asyncio.sleep(AFTER_REFUSAL)

    def watched(self) -> Client:
        """A streamed request of the load's own kind, at the next edge; counted with the others."""
        return self._next(stream=True)

    def _next(self, *, stream: bool | None = None) -> Client:
        if stream is None:
            stream = len(self.clients) % WHOLE != 0
        edge = next(each for each in self._edges if each not in self.away)
        client = Client(self._cluster.address(edge), self._accounts.pop(), max_tokens=self._max_tokens, stream=stream)
        self.clients.append(client)
        return client

    def stop(self) -> None:
        """No new requests."""
        self._stopping = True


@asynccontextmanager
async def under_load(cluster: Cluster, *, at_once: int, max_tokens: int, most: int) -> AsyncIterator[Load]:
    """Runs requests beside the block, at most `most` in all; at its end the last of them are waited for."""
    load = Load(cluster, await cluster.office.accounts(most, PLENTY), max_tokens=max_tokens)
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(load.keep_asking())
        try:
            yield load
        finally:
            load.stop()
