"""Ids of holds begin with the time, as the edge's clock told it: Unix milliseconds in 6 bytes, then 10 random ones.

Charges are kept by the month of their ids, so ids have to be about right: within a day of the database's clock when a
request is admitted. A request whose id is further off is refused; its edge's clock is wrong.
"""

from __future__ import annotations

TIME_BYTES, LENGTH = 6, 16
MOST_SKEW_US = 86_400_000_000  # an id is at most a day off its admission
# How far from an admission's instant its id is looked for: a day more, since the database's clock may be set back.
LOOK_AROUND_US = 2 * MOST_SKEW_US


def instant_us(hold_id: bytes) -> int:
    """When its edge made the id, in microseconds since the epoch."""
    return int.from_bytes(hold_id[:TIME_BYTES], "big") * 1000


def lowest_at(instant: int) -> bytes:
    """A bound: ids made at the instant (microseconds) or later are not below it, earlier ones are."""
    milliseconds = max(0, -(-instant // 1000))
    return min(milliseconds, (1 << 8 * TIME_BYTES) - 1).to_bytes(TIME_BYTES, "big")


def plausible(hold_id: bytes, now_us: int) -> bool:
    """Whether the id was made within a day of now."""
    return abs(instant_us(hold_id) - now_us) <= MOST_SKEW_US
