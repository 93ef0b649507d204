"""The messages of one edge's stream of key changes."""

from __future__ import annotations

from dataclasses import dataclass

from services.auth.domain.change import Change
from services.auth.domain.store import Known


@dataclass(frozen=True)
class Hello:
    """An edge begins a session. `known` and `cache_mark` describe the cache that it would keep, if any."""

    session_id: bytes
    edge_name: str
    known: Known | None = None
    cache_mark: str = ""


@dataclass(frozen=True)
class Ack:
    """Every change up to `sequence` is in force at the edge."""

    sequence: int


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life from the edge, and the answer to it."""

    number: int


@dataclass(frozen=True)
class Welcome:
    """The session is open; changes after `sequence` will follow."""

    sequence: int


@dataclass(frozen=True)
class Draining:
    """This replica is about to stop."""


Incoming = Hello | Ack | Heartbeat | None  # None: a message of a later version
Outgoing = Welcome | Change | Heartbeat | Draining
