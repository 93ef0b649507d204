"""What one request, one account, one source address and the process may hold and spend (docs/settings.md).

One object for the whole edge worker, made from its settings. Whatever a client sends, with or without a key, is bounded
by one of these numbers (G13); the parts that keep count are in the files beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass

from servicekit.clock import Clock
from services.edge.http.bodies import MIB, Bodies
from services.edge.http.connections import Connections
from services.edge.http.discards import Discards
from services.edge.http.senders import Sender, Sources
from services.edge.http.spending import Spending
from services.edge.http.unauthorized import Unauthorized

__all__ = ["LimitNumbers", "Limits", "RequestLimits", "Sender"]


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What the content of one request may be."""

    parts: int = 4096  # content parts of all messages together
    nesting: int = 64  # depth of JSON inside a string that is JSON
    validation_errors: int = 5  # findings that are collected before the rest is not looked at


@dataclass(frozen=True, slots=True)
class LimitNumbers:
    """The settings. Sizes in bytes, times in seconds."""

    request: RequestLimits = RequestLimits()
    held_body_bytes: int = 256 * MIB
    held_body_bytes_per_account: int = 64 * MIB
    connections: int = 4096
    connections_per_source: int = 256
    unauthorized_per_minute: int = 60
    discarded_bytes_per_second: int = 32 * MIB
    refused_cpu_seconds: float = 2.0
    trusted_proxies: str | None = None
    proxy_header: str = "x-forwarded-for"


class Limits:
    """Keeps count for one process.

    - `request`: numbers for whatever looks into a request's content.
    - `bodies`: bytes of bodies that are held.
    - `connections`: open connections.
    - `unauthorized`: 401s of each source address.
    - `spending`: CPU time of rejected work; `spending.charge_account(id, seconds)` after a 400 or 413.
    - `discards`: how fast the rest of answered requests is read.
    - `sources`: finds a request's source address.
    """

    def __init__(self, clock: Clock, numbers: LimitNumbers | None = None) -> None:
        numbers = numbers or LimitNumbers()
        self.request = numbers.request
        self.sources = Sources.parse(numbers.trusted_proxies, numbers.proxy_header)
        self.bodies = Bodies(clock, numbers.held_body_bytes, numbers.held_body_bytes_per_account)
        self.connections = Connections(clock, self.sources, numbers.connections, numbers.connections_per_source)
        self.unauthorized = Unauthorized(clock, numbers.unauthorized_per_minute)
        self.spending = Spending(clock, numbers.refused_cpu_seconds)
        self.discards = Discards(clock, numbers.discarded_bytes_per_second)
