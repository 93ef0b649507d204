"""Every move of an answer's table, and what it pushes into its sink: no server, no task, no wait for an event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from muhgpt.inference.v1 import inference_pb2
from muhgpt.quota.v1 import quota_pb2
from servicekit.observability import tracing
from servicekit.state_table import IllegalMove, move
from servicekit.timer_wheel import TimerWheel
from services.edge.peers.auth.principals import Principal
from services.edge.peers.errors import KeyRevoked, Service, Unavailable
from services.edge.peers.inference.generation import Generation
from services.edge.peers.quota.hold import Hold
from services.edge.peers.quota.hold_state import State as HoldState
from services.edge.peers.quota.rate_window import RateWindow
from services.edge.serving.answer import Delta, Usage
from services.edge.serving.answer_state import TRANSITIONS, Event, State
from services.edge.serving.first_progress import FirstProgress
from services.edge.serving.live_answer import LiveAnswer
from services.edge.serving.open_answers import OpenRequest, Running
from services.edge.serving.opening import Opened
from services.edge.serving.order import AnswerOrder
from tests.fakes import FakeClock

ID = b"0123456789abcdef"
WINDOW = 64
PRINCIPAL = Principal("acct_1", "key_1", 1, 1, 60, 10, None, frozenset(), None, None)


@dataclass
class Lease:
    lapses_at: float = 1e9
    window_tokens: int = WINDOW


@dataclass
class Trust:
    trusted: bool = True


@dataclass
class Stream:
    """What a generation runs on."""

    commands: list[str] = field(default_factory=list)

    def command(self, generation: Generation, command: inference_pb2.Command) -> None:
        self.commands.append(command.WhichOneof("command") or "")

    def forget(self, generation: Generation) -> None:
        pass


@dataclass
class Client:
    """A Sink that may stop taking more."""

    ready: bool = True
    texts: list[list[str]] = field(default_factory=list)
    defect: Exception | None = None

    def when_ready(self, look: Callable[[], None]) -> None:
        self.look = look

    def write(self, deltas: list[Delta]) -> None:
        if self.defect is not None:
            raise self.defect
        self.texts.append([delta.text for delta in deltas])


class World:
    """One running answer between a hold, a generation and a client that a test moves."""

    def __init__(self, *, streamed: bool = True, most: int = 500) -> None:
        self.clock, self.lease, self.trust, self.client = FakeClock(), Lease(), Trust(), Client()
        self.hold = Hold(ID, lambda hold: None, lambda: None)
        self.hold.reserve(quota_pb2.Reserve(max_tokens=most))
        self.hold.take(0.0)
        self.answer_quota(reserved=quota_pb2.Reserved(max_tokens=most, covered_tokens=min(WINDOW, most)))
        self.stream = Stream()
        self.generation = Generation(1, "m", self.stream, lambda: None)
        self.running = Running()
        entry = OpenRequest(self.running, PRINCIPAL, b"digest", 600, TimerWheel())
        order = AnswerOrder(inference_pb2.ChatRequest(), "muh-chat", most, 1, streamed, "req_1", 1e9)
        window = RateWindow(60, 59, 60.0)
        opened = Opened(order, self.generation, self.hold, self.lease, 5, most, window, tracing.NONE)
        self.answer = LiveAnswer(opened, entry, self.trust, self.clock, FirstProgress(self.clock))
        self.entry = entry

    def answer_quota(self, **outcome: object) -> None:
        self.hold.accept(quota_pb2.Outcome(hold_id=ID, **outcome))  # type: ignore[arg-type]

    def engine(self, **event: object) -> None:
        """One message of the engine, and the look that follows."""
        self.generation.accept(inference_pb2.Event(generation_id=1, **event))  # type: ignore[arg-type]
        self.generation.wake()

    def text(self, text: str, tokens: int = 1) -> None:
        self.engine(delta=inference_pb2.Delta(text=text, tokens=tokens))

    def finish(self, tokens: int = 1) -> None:
        self.engine(finished=inference_pb2.Finished(output_tokens=tokens, prompt_tokens=5))

    def settled(self) -> int:
        """Output tokens of the charge that is asked for; 0 for a release."""
        (operation,) = self.hold.take(0.0)
        return operation.settle.output_tokens

    async def begin(self) -> None:
        """As deliver() begins; what it waits for is pushed here."""
        self.delivering = self.answer.deliver(self.client)
        self.delivering.send(None)  # type: ignore[attr-defined]

    async def end(self) -> object:
        """What deliver() returns."""
        try:
            self.delivering.send(None)  # type: ignore[attr-defined]
        except StopIteration as done:
            return done.value
        raise AssertionError("it still waits")


async def running(world: World) -> None:
    await world.begin()


async def settling(world: World) -> None:
    await world.begin()
    world.text("a")
    world.finish()


async def given(world: World) -> None:
    await settling(world)
    world.hold.take(0.0)
    world.answer_quota(settled=quota_pb2.Settled(credits=1))
    await world.end()


async def failed(world: World) -> None:
    world.answer.end(KeyRevoked())


async def left(world: World) -> None:
    await world.answer.aclose()


async def fail(world: World) -> None:
    world.answer.end(Unavailable(Service.INFERENCE))


async def leave(world: World) -> None:
    await world.answer.aclose()


async def finish(world: World) -> None:
    world.finish()


async def cut(world: World) -> None:
    """The money is used up: the slide gives nothing more, and the next token is not covered."""
    world.text("a", WINDOW)
    world.hold.take(0.0)
    world.answer_quota(progressed=quota_pb2.Progressed(covered_tokens=WINDOW, limited=True))
    world.text("b")


async def charge(world: World) -> None:
    world.hold.take(0.0)
    world.answer_quota(settled=quota_pb2.Settled(credits=1))
    await world.end()


Step = Callable[[World], Awaitable[None]]
MOVES: dict[tuple[State, Event], tuple[Step, Step]] = {
    (State.RUNNING, Event.FINISH): (running, finish),
    (State.RUNNING, Event.CUT): (running, cut),
    (State.RUNNING, Event.FAIL): (running, fail),
    (State.RUNNING, Event.LEAVE): (running, leave),
    (State.SETTLING, Event.GIVE): (settling, charge),
    (State.SETTLING, Event.FAIL): (settling, fail),
    (State.SETTLING, Event.LEAVE): (settling, leave),
    (State.GIVEN, Event.FAIL): (given, fail),
    (State.GIVEN, Event.LEAVE): (given, leave),
    (State.FAILED, Event.FAIL): (failed, fail),
    (State.FAILED, Event.LEAVE): (failed, leave),
    (State.LEFT, Event.FAIL): (left, fail),
    (State.LEFT, Event.LEAVE): (left, leave),
}


def test_the_table_holds_these_moves_and_no_others() -> None:
    assert {(state, event) for state, moves in TRANSITIONS.items() for event in moves} == set(MOVES)
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(("state", "event"), MOVES, ids=lambda each: each.name)
async def test_every_move_leads_where_the_table_says(state: State, event: Event) -> None:
    reach, step = MOVES[state, event]
    world = World()
    await reach(world)
    assert world.answer.state is state
    await step(world)
    assert world.answer.state is TRANSITIONS[state][event]
    assert (len(world.running) == 0) == (world.answer.state is not State.RUNNING)


ILLEGAL = [(state, event) for state in State for event in Event if event not in TRANSITIONS[state]]


@pytest.mark.parametrize(("state", "event"), ILLEGAL, ids=lambda each: each.name)
def test_any_other_move_raises(state: State, event: Event) -> None:
    with pytest.raises(IllegalMove, match=f"{state.name} does not take {event.name}"):
        move(TRANSITIONS, state, event)


async def test_output_is_pushed_when_it_comes_and_not_beyond_the_hold() -> None:
    world = World()
    await world.begin()
    world.text("a", WINDOW - 1)
    world.text("b")
    world.text("c")
    assert world.client.texts == [["a"], ["b"]]
    world.hold.take(0.0)
    world.answer_quota(progressed=quota_pb2.Progressed(covered_tokens=2 * WINDOW))
    assert world.client.texts == [["a"], ["b"], ["c"]]


async def test_a_client_that_takes_no_more_leaves_output_and_gets_it_together_later() -> None:
    world = World()
    await world.begin()
    world.client.ready = False
    world.text("a")
    world.text("b")
    assert world.client.texts == []
    world.client.ready = True
    world.client.look()
    assert world.client.texts == [["a", "b"]]


async def test_an_event_needs_no_task_no_future_and_no_timer() -> None:
    """Where no loop runs, none of these can be made."""
    world = World()
    await world.begin()
    world.text("first")  # its report has a timer that all streams share
    await asyncio.to_thread(lambda: [world.text(f"{number}") for number in range(50)])
    assert world.client.texts == [["first"], *([f"{number}"] for number in range(50))]


async def test_what_a_client_did_not_take_is_neither_reported_nor_charged_when_the_answer_fails() -> None:
    world = World()
    await world.begin()
    world.text("a", 3)
    world.client.ready = False
    world.text("b", 4)
    world.answer.report_first()
    (operation,) = world.hold.take(0.0)
    assert operation.progress.delivered_tokens == 3
    world.answer.end(KeyRevoked())
    world.hold.forget_sent()
    assert world.settled() == 3


async def test_the_last_tokens_are_written_before_they_are_charged() -> None:
    world = World()
    await world.begin()
    seen: list[HoldState] = []
    write = world.client.write
    world.client.write = lambda deltas: (seen.append(world.hold.state), write(deltas))[1]  # type: ignore[method-assign,func-returns-value]
    world.generation.accept(inference_pb2.Event(delta=inference_pb2.Delta(text="a", tokens=1)))
    world.finish(1)
    assert seen == [HoldState.HELD]
    assert world.hold.state is HoldState.ENDING


async def test_the_last_batch_waits_for_the_charge() -> None:
    world = World()
    await settling(world)
    with pytest.raises(AssertionError, match="still waits"):
        await world.end()
    world.hold.take(0.0)
    world.answer_quota(settled=quota_pb2.Settled(credits=1))
    last = await world.end()
    assert last.usage == Usage(5, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("why", ["lease", "trust", "lost"])
async def test_nothing_is_delivered_past_the_lease_or_the_trust(why: str) -> None:
    world = World()
    await world.begin()
    if why == "lease":
        world.lease.lapses_at = world.clock.monotonic()
    elif why == "trust":
        world.trust.trusted = False
    else:
        world.hold.lose()
    world.text("a")
    assert world.client.texts == []
    assert world.answer.state is State.FAILED
    assert world.settled() == 0


async def test_a_defect_of_a_sink_is_raised_by_deliver_and_does_not_reach_the_read_loop() -> None:
    world = World()
    await world.begin()
    world.client.defect = RuntimeError("cannot encode")
    world.text("a")
    with pytest.raises(RuntimeError, match="cannot encode"):
        await world.end()
    await world.answer.aclose()
    assert world.settled() == 1


async def test_a_whole_answer_is_confirmed_by_the_client_that_leaves_while_it_is_charged() -> None:
    world = World(streamed=False)
    await settling(world)
    await world.answer.aclose()
    assert world.hold.state is HoldState.WRITTEN


async def test_an_answer_that_was_to_be_sent_whole_and_fails_pays_nothing() -> None:
    world = World(streamed=False)
    await world.begin()
    world.text("a")
    world.engine(failed=inference_pb2.Failed(message="died"))
    assert world.settled() == 0


async def test_an_end_from_outside_finds_the_answer_and_stops_its_engine() -> None:
    world = World()
    await world.begin()
    world.generation.prepare(inference_pb2.Prepare())
    world.generation.prepare_written = True
    world.running.end_key("acct_1", "key_1", KeyRevoked)
    assert world.stream.commands == ["prepare", "cancel"]
    assert world.answer.state is State.FAILED
