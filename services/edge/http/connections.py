"""The connections of one process: how many there may be, and which one gives way."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from services.edge.http.errors import ApiError
from services.edge.http.limited import CONNECTIONS, CONNECTIONS_OF_SOURCE
from services.edge.http.senders import Sources

log = get_logger(__name__)

LOG_INTERVAL = 10.0  # seconds between two lines about the same limit


class Connection(Protocol):
    """A client's connection."""

    def make_room(self) -> None:
        """Closes at once: it has no request, and another client needs the place."""
        ...


class Place:
    """One connection's entry. It gives way while it waits: between requests, in a header, or while it is closing."""

    __slots__ = ("_connections", "connection", "peer")

    def __init__(self, connections: Connections, connection: Connection, peer: str) -> None:
        self._connections = connections
        self.connection = connection
        self.peer = peer

    def waits(self) -> None:
        """It has no request now."""
        self._connections.waits(self)

    def works(self) -> None:
        """Its request's header is complete."""
        self._connections.works(self)

    def leave(self) -> None:
        """It is closed; safe to call again."""
        self._connections.leave(self)


class Connections:
    """At most `total`, and `per_source` from one address; trusted proxies have as many as there is room for.

    At a limit the connection that has waited for longest is closed: of the same address, or of the address that has
    most connections. The new one is refused only when none of them waits.
    """

    def __init__(self, clock: Clock, sources: Sources, total: int = 4096, per_source: int = 256) -> None:
        self._clock = clock
        self._sources = sources
        self._total = total
        self._per_source = per_source
        self._count = 0
        self._by_source: dict[str, OrderedDict[Place, bool]] = {}  # the waiting ones in order of waiting: True
        self._logged: dict[str, tuple[float, int]] = {}

    def __len__(self) -> int:
        return self._count

    def enter(self, connection: Connection, peer: str | None) -> Place:
        """Takes a new connection in; it waits. Raises ApiError 429 (too many of this address) or 503 (no room)."""
        source = self._sources.of(peer)
        place = Place(self, connection, source)
        if len(self._by_source.get(source, ())) >= self._per_source and not self._sources.trusts(peer or ""):
            CONNECTIONS_OF_SOURCE.inc()
            closed = self._close_waiting(source)
            self._tell("connections_of_source", source=source, bound=self._per_source, closed_idle=closed)
            if not closed:
                raise ApiError.too_many_connections()
        if self._count >= self._total:
            CONNECTIONS.inc()
            closed = self._close_any()
            self._tell("connections", source=source, bound=self._total, closed_idle=closed)
            if not closed:
                raise ApiError.no_room()
        self._by_source.setdefault(source, OrderedDict())[place] = True
        self._count += 1
        return place

    def waits(self, place: Place) -> None:
        """See Place."""
        places = self._by_source.get(place.peer)
        if places is not None and place in places:
            places[place] = True
            places.move_to_end(place)

    def works(self, place: Place) -> None:
        """See Place."""
        places = self._by_source.get(place.peer)
        if places is not None and place in places:
            places[place] = False
            places.move_to_end(place)

    def leave(self, place: Place) -> None:
        """See Place."""
        places = self._by_source.get(place.peer)
        if places is None or places.pop(place, None) is None:
            return
        self._count -= 1
        if not places:
            del self._by_source[place.peer]

    def _close_any(self) -> bool:
        by_size = sorted(self._by_source, key=lambda source: -len(self._by_source[source]))
        return any(self._close_waiting(source) for source in by_size)

    def _close_waiting(self, source: str) -> bool:
        """Closes the address's connection that has waited for longest; False: all have requests."""
        for place, waits in self._by_source[source].items():
            if waits:
                self.leave(place)
                place.connection.make_room()
                return True
        return False

    def _tell(self, limit: str, **fields: object) -> None:
        """One line when it begins, then one in ten seconds with the number of times since."""
        now = self._clock.monotonic()
        last, times = self._logged.get(limit, (-LOG_INTERVAL, 0))
        if now - last < LOG_INTERVAL:
            self._logged[limit] = (last, times + 1)
            return
        self._logged[limit] = (now, 0)
        log.warning("connection_limit_reached", limit=limit, times=times + 1, **fields)
