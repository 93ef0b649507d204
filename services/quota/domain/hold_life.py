"""The life of a hold in quota's books and the steps between its states, drawn in docs/states.md.

Progress slides a hold and moves it nowhere, and a repeated operation takes no step: it gets the first answer
(holds.py). So a step that the table does not have is an internal error.
"""

from __future__ import annotations

from enum import Enum

from servicekit.state_table import Table, move
from services.quota.domain.records import Hold, State


class Life(Enum):
    """Where a hold is between its reservation and its receipt."""

    HELD = "credits are held, and nothing is charged"
    UNCONFIRMED = "charged until its answer is written, or its session ends"
    CHARGED = "charged for good"
    REFUNDED = "charged, and given back since its answer was never written"
    RELEASED = "ended without a charge"
    EXPIRED = "ended with its session: charged for what was delivered by then"


class Step(Enum):
    """What can happen to a hold."""

    CHARGE = "the answer has ended, and was written before"
    CHARGE_UNWRITTEN = "the answer has ended, and is still to be written"
    RELEASE = "the request has ended, and nothing was produced"
    EXPIRE = "the session's lease has lapsed"
    CONFIRM = "the answer was written, or its client is gone"
    REFUND = "the session's lease has lapsed before the confirmation"


TRANSITIONS: Table[Life, Step] = {
    Life.HELD: {
        Step.CHARGE: Life.CHARGED,
        Step.CHARGE_UNWRITTEN: Life.UNCONFIRMED,
        Step.RELEASE: Life.RELEASED,
        Step.EXPIRE: Life.EXPIRED,
    },
    Life.UNCONFIRMED: {Step.CONFIRM: Life.CHARGED, Step.REFUND: Life.REFUNDED},
    Life.CHARGED: {},
    Life.REFUNDED: {},
    Life.RELEASED: {},
    Life.EXPIRED: {},
}

# How each is stored: `state` and `unconfirmed`. What was given back is known by its amount.
_STORED = {
    Life.HELD: (State.HELD, False),
    Life.UNCONFIRMED: (State.SETTLED, True),
    Life.CHARGED: (State.SETTLED, False),
    Life.REFUNDED: (State.SETTLED, False),
    Life.RELEASED: (State.RELEASED, False),
    Life.EXPIRED: (State.EXPIRED, False),
}
_ENDED = {State.HELD: Life.HELD, State.RELEASED: Life.RELEASED, State.EXPIRED: Life.EXPIRED}


def life_of(hold: Hold) -> Life:
    """Where the hold is."""
    if hold.state is not State.SETTLED:
        return _ENDED[hold.state]
    if hold.unconfirmed:
        return Life.UNCONFIRMED
    return Life.REFUNDED if hold.refunded else Life.CHARGED


def take_step(hold: Hold, step: Step) -> None:
    """Moves the hold on. Raises IllegalMove."""
    hold.state, hold.unconfirmed = _STORED[move(TRANSITIONS, life_of(hold), step)]
    hold.dirty = True
