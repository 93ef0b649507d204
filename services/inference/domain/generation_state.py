"""The states of a generation and the moves between them, drawn in docs/states.md."""

from __future__ import annotations

from enum import Enum

from servicekit.state_table import Table


class State(Enum):
    """How far it has come."""

    PREPARING = "its prompt is checked and counted"
    EAGER = "the same, and the edge has said go already"
    READY = "counted; waits for go"
    QUEUED = "waits for the engine's slots"
    GENERATING = "the engine generates"
    ENDED = "the edge was sent its terminal event, or wants none"


class Event(Enum):
    """What the edge asks, and what the engine does."""

    PREPARED = "the prompt is counted"
    GO = "the edge wants it generated"
    GRANTED = "the slots are there"
    OUTPUT = "the engine gave something"
    FINISH = "all choices have ended"
    FAIL = "an error, or its time is over"
    CANCEL = "the edge wants no more, and the count"
    DROP = "the edge wants to hear no more of it"
    CLOSE = "the edge is gone"


_ENDS = {Event.FAIL: State.ENDED, Event.CANCEL: State.ENDED, Event.DROP: State.ENDED, Event.CLOSE: State.ENDED}
TRANSITIONS: Table[State, Event] = {
    State.PREPARING: {Event.PREPARED: State.READY, Event.GO: State.EAGER, **_ENDS},
    State.EAGER: {Event.PREPARED: State.QUEUED, Event.GO: State.EAGER, **_ENDS},
    State.READY: {Event.GO: State.QUEUED, **_ENDS},
    State.QUEUED: {Event.GO: State.QUEUED, Event.GRANTED: State.GENERATING, **_ENDS},
    State.GENERATING: {
        Event.GO: State.GENERATING,
        Event.OUTPUT: State.GENERATING,
        Event.FINISH: State.ENDED,
        **_ENDS,
    },
    State.ENDED: {},  # what crosses the end is dropped before it gets here
}
