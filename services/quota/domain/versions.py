"""Which of two versions of an account's or key's limits is in force.

auth counts a version up with each change, and an edge receives a change within seconds (G6). So the highest version is
the newest, with one exception: an edge that is not what it should be can present a version that auth never issued. Then
every other edge presents a lower one from then on. A version that was presented for AGREED_AFTER while no edge
presented a higher one is therefore believed whatever is stored: an operator's change wins over what was made up.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

AGREED_AFTER = 10.0  # seconds; no edge trusts an old principal for longer than 6 (G6)
MAX_VERSION = 10**9  # no operator makes so many changes
MAX_STEP = 10_000  # changes between two requests of an account; a longer step has to be agreed on
REMEMBERED = 100_000  # accounts and keys, the least recently used forgotten first


def replaces(presented: int, known: int, *, agreed: bool) -> bool:
    """Whether limits of the presented version replace those of the known one."""
    return agreed or known < presented <= known + MAX_STEP


def first(presented: int) -> int:
    """The version that is kept of an account or key that was never seen: none that would take many changes to pass."""
    return presented if presented <= MAX_STEP else 0


@dataclass(slots=True)
class _Presented:
    version: int
    since: float
    last: float


class Presented:
    """What edges presented of late, by the name of an account or key. Instants are monotonic seconds."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, _Presented] = OrderedDict()

    def agreed(self, name: str, version: int, now: float) -> bool:
        """Notes that a version was presented; True: none higher was for AGREED_AFTER, and this one was all the time."""
        latest = self._latest.get(name)
        if latest is not None and now - latest.last < AGREED_AFTER and _outdone(version, latest.version):
            return False
        if latest is None or version != latest.version:
            latest = self._latest[name] = _Presented(version, now, now)
            if len(self._latest) > REMEMBERED:
                self._latest.popitem(last=False)
        self._latest.move_to_end(name)
        latest.last = now
        return now - latest.since >= AGREED_AFTER


def _outdone(version: int, other: int) -> bool:
    """Whether a version is not believed beside another: it is older, or so much newer that it was made up."""
    return other - MAX_STEP <= version < other or version > other + MAX_STEP
