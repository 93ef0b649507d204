"""How far the instant in a hold's id (common/hold_id.py) may be from its admission.

Charges are kept by the month of their ids, so ids have to be about right: within a day of the database's clock when a
request is admitted. A request whose id is further off is refused; its edge's clock is wrong.
"""

from __future__ import annotations

from common.hold_id import instant_us

MAX_SKEW_US = 86_400_000_000  # an id is at most a day off its admission
# How far from an admission's instant its id is looked for: a day more, since the database's clock may be set back.
LOOK_AROUND_US = 2 * MAX_SKEW_US


def plausible(hold_id: bytes, now_us: int) -> bool:
    """Whether the id was made within a day of now."""
    return abs(instant_us(hold_id) - now_us) <= MAX_SKEW_US
