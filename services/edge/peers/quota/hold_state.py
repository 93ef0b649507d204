"""The states of a hold and the moves between them, drawn in docs/states.md.

What was sent on the present stream and not answered is no state: a break or a retry clears it, and the state says what
is to be sent again.
"""

from __future__ import annotations

from enum import Enum

from servicekit.state_table import Table


class State(Enum):
    """What the edge and quota have agreed on."""

    NEW = "nothing was asked"
    WAITING = "the reservation has not left this process"
    RESERVING = "the reservation has left, and quota has not answered it"
    HELD = "reserved"
    LOST = "ended at quota, or it may have: nothing more may be delivered"
    ENDING = "a charge or release is asked for that needs no confirmation"
    SETTLING = "a charge is asked for, and the answer is still to be written"
    WRITTEN = "the answer was written before its charge was acknowledged"
    CHARGED = "charged until the answer is written, or the session ends"
    CONFIRMING = "the answer is written, and its charge is to be confirmed"
    ENDED = "quota has acknowledged all, or has never heard of it"


class Event(Enum):
    """What the request asks, what the link does, and what quota answers."""

    RESERVE = "the request asks for admission"
    SEND = "the reservation goes out"
    RESERVED = "quota has admitted it"
    LOSE = "the lease lapsed, or quota refused to slide"
    END = "the request releases it, or settles what was written already"
    SETTLE_UNWRITTEN = "the request settles an answer that is still to be written"
    CONFIRM = "the answer was written, or its client is gone"
    CHARGE = "quota has charged or released it for good"
    CHARGE_UNCONFIRMED = "quota has charged it, and waits for the confirmation"
    CONFIRMED = "quota has noted the confirmation"
    REFUSE = "quota has refused the reservation, the end or the confirmation"


_ENDS = {Event.END: State.ENDING, Event.SETTLE_UNWRITTEN: State.SETTLING}
TRANSITIONS: Table[State, Event] = {
    State.NEW: {Event.RESERVE: State.WAITING, Event.END: State.ENDED},
    State.WAITING: {Event.SEND: State.RESERVING, Event.END: State.ENDED},
    State.RESERVING: {
        Event.SEND: State.RESERVING,
        Event.RESERVED: State.HELD,
        Event.REFUSE: State.ENDED,
        Event.END: State.ENDING,
    },
    State.HELD: {Event.LOSE: State.LOST, **_ENDS},
    State.LOST: {Event.LOSE: State.LOST, **_ENDS},
    State.ENDING: {
        Event.RESERVED: State.ENDING,
        Event.LOSE: State.ENDING,
        Event.CHARGE: State.ENDED,
        Event.REFUSE: State.ENDED,
    },
    State.SETTLING: {
        Event.LOSE: State.SETTLING,
        Event.CONFIRM: State.WRITTEN,
        Event.CHARGE: State.ENDED,
        Event.CHARGE_UNCONFIRMED: State.CHARGED,
        Event.REFUSE: State.ENDED,
    },
    State.WRITTEN: {
        Event.LOSE: State.WRITTEN,
        Event.CHARGE: State.ENDED,
        Event.CHARGE_UNCONFIRMED: State.CONFIRMING,
        Event.REFUSE: State.ENDED,
    },
    State.CHARGED: {Event.LOSE: State.CHARGED, Event.CONFIRM: State.CONFIRMING},
    State.CONFIRMING: {
        Event.LOSE: State.CONFIRMING,
        Event.CONFIRMED: State.ENDED,
        Event.REFUSE: State.ENDED,
    },
    State.ENDED: {},
}

ACTIVE = frozenset({State.HELD, State.LOST})
UNANSWERED_RESERVATION = frozenset({State.WAITING, State.RESERVING})
UNANSWERED_END = frozenset({State.ENDING, State.SETTLING, State.WRITTEN})
AFTER_CHARGE = frozenset({State.CHARGED, State.CONFIRMING, State.ENDED})
