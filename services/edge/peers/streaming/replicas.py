"""The replicas of one service: those with an address of their own, and those that a name leads to, followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from servicekit.observability.logging import get_logger
from servicekit.rpc.address import Address, Endpoint, parse_endpoint
from services.edge.peers.streaming.resolver import Resolver

log = get_logger(__name__)

SHORTEST_PAUSE = 0.5  # seconds between two looks, however often somebody asks for one


class Connection(Protocol):
    """What leads to one replica."""

    async def close(self) -> None:
        """At once."""
        ...

    async def close_when_idle(self) -> None:
        """When what runs on it has ended."""
        ...


C = TypeVar("C", bound=Connection)


@dataclass(frozen=True, eq=False, slots=True)
class Replica(Generic[C]):
    """One replica for as long as its address is there; when it comes back it is another one."""

    address: str
    connection: C


class Replicas(Generic[C]):
    """Use `now` and `after`, and `watch` for changes.

    Names are asked again every `interval` seconds, and soon after look(). When a name has no address or cannot be asked
    all stays as it was: replicas that can be reached are worth more than what a name server knows.
    """

    def __init__(
        self, service: str, text: str, connect: Callable[[str], C], resolver: Resolver, *, interval: float
    ) -> None:
        """`text` is "host:port,host:port" or unix:/PATH. Raises StartupError that shows what is no address."""
        self._service = service
        listed = [parse_endpoint(part.strip()) for part in text.split(",")]
        self._names = [each for each in listed if isinstance(each, Address) and not each.literal]
        self._connect = connect
        self._resolver = resolver
        self._interval = interval
        self._known: dict[Endpoint, list[str]] = {each: [str(each)] for each in listed if each.literal}
        self._watchers: list[Callable[[], None]] = []
        self._wanted = asyncio.Event()
        self._found = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.now: tuple[Replica[C], ...] = ()  # by address, so in the same order for every edge
        self._update()

    def __iter__(self) -> Iterator[Replica[C]]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)

    def after(self, replica: Replica[C]) -> Replica[C]:
        """The next one, whether or not `replica` is still there; the same one when there is no other."""
        return next((each for each in self.now if each.address > replica.address), self.now[0])

    def watch(self, changed: Callable[[], None]) -> None:
        """`changed` is called whenever `now` is another one."""
        self._watchers.append(changed)

    def look(self) -> None:
        """Somebody lost a replica: names may lead elsewhere by now."""
        self._wanted.set()

    async def known(self) -> None:
        """Returns once there is a replica."""
        await self._found.wait()

    def start(self) -> None:
        """Follows the names until close()."""
        if self._names:
            self._task = asyncio.create_task(self._follow(), name=f"replicas of {self._service}")

    async def close(self) -> None:
        """Closes all connections, those of replicas that left too."""
        tasks = [*self._closing, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(replica.connection.close() for replica in self.now))

    async def _follow(self) -> None:
        while True:
            self._wanted.clear()
            await asyncio.gather(*(self._resolve(name) for name in self._names))
            self._update()
            await asyncio.sleep(min(SHORTEST_PAUSE, self._interval))
            try:
                async with asyncio.timeout(max(0.0, self._interval - SHORTEST_PAUSE)):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def _resolve(self, name: Address) -> None:
        try:
            found = await self._resolver.addresses(name.host)
        except (OSError, UnicodeError) as error:  # a time-out is an OSError; UnicodeError: the name cannot be one
            level = log.debug if name in self._known else log.warning
            level("replicas_unknown", service=self._service, host=name.host, problem=str(error) or "no answer in time")
            return
        self._known[name] = [str(Address(host, name.port)) for host in found]

    def _update(self) -> None:
        wanted = sorted({address for found in self._known.values() for address in found})
        present = {replica.address: replica for replica in self.now}
        if wanted == list(present):
            return
        self.now = tuple(present.get(address) or Replica(address, self._connect(address)) for address in wanted)
        left = [replica for address, replica in present.items() if address not in wanted]
        log.info("replicas_changed", service=self._service, replicas=wanted, left=[replica.address for replica in left])
        for watcher in self._watchers:
            watcher()
        for replica in left:  # after the watchers: what they move away must not find a closed channel
            self._close(replica)
        if self.now:
            self._found.set()

    def _close(self, replica: Replica[C]) -> None:
        task = asyncio.create_task(replica.connection.close_when_idle())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
