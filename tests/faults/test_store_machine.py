"""A state machine over the Store: any order of operations, repeats, crashes and clock steps, on both databases.

On PostgreSQL two replicas take turns in any order: what one remembers of an account must not outlive the other's work.

The model beside it is as plain as can be: it keeps what was granted and each hold's numbers, and says for each answer
of the store whether it was the only right one (G1, G2, G3, G5, G12).
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from common.hold_id import new_hold_id
from services.quota.domain.operations import (
    Confirm,
    Expire,
    Grant,
    Operation,
    Progress,
    Refund,
    RefundAnswer,
    Release,
    Reserve,
    Settle,
)
from services.quota.domain.outcomes import (
    Balanced,
    Confirmed,
    Outcome,
    Progressed,
    Reason,
    Refused,
    Released,
    Reserved,
    Settled,
)
from services.quota.domain.pricing import Price
from services.quota.domain.store import Store
from services.quota.store.reading.reader import Reader
from tests.fakes import FakeClock
from tests.integration.quota.conftest import opened

PRICE = Price(700_000, 2_300_000)
LIMIT = 4
EXAMPLES = int(os.environ.get("MUHGPT_TEST_EXAMPLES", "15"))  # `make faults` asks for more
WINDOW_US = 60_000_000


@dataclass
class ModelHold:
    key: str
    prompt: int
    most: int
    choices: int
    covered: int
    max_tokens: int
    delivered: int = 0
    held: int = 0
    ended: Outcome | None = None
    unconfirmed: bool = False
    refunded: int = 0


@dataclass
class Model:
    balance: int = 0
    holds: dict[bytes, ModelHold] = field(default_factory=dict)
    admitted_us: list[int] = field(default_factory=list)
    spent: dict[str, int] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(hold.held for hold in self.holds.values())

    def free(self, key: str, ceilings: dict[str, int | None]) -> int:
        free = self.balance - self.held
        ceiling = ceilings[key]
        if ceiling is not None:
            of_key = sum(hold.held for hold in self.holds.values() if hold.key == key)
            free = min(free, ceiling - self.spent.get(key, 0) - of_key)
        return free


class LedgerMachine(RuleBasedStateMachine):
    """One account with two keys, one of them with a ceiling. `url` and `loop` are set by the test."""

    url: str
    loop: asyncio.AbstractEventLoop

    holds: Any = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.account = f"a-{secrets.token_hex(8)}"
        self.ceilings: dict[str, int | None] = {f"free-{self.account}": None, f"capped-{self.account}": 700}
        self.model = Model()
        self.history: list[tuple[Operation, Outcome]] = []
        self._open()

    def _open(self) -> None:
        replicas = 1 if self.url.startswith("sqlite") else 2
        self.contexts = [opened(self.url, self.clock) for _ in range(replicas)]
        entered = [self.run(context.__aenter__()) for context in self.contexts]
        self.stores = [store for _, store in entered]
        self.reader = Reader(entered[0][0])

    def _close(self) -> None:
        for context in self.contexts:
            self.run(context.__aexit__(None, None, None))

    @initialize(seed=st.integers(0, 2**16))
    def draw_turns(self, seed: int) -> None:
        """Which replica answers is drawn ahead, so that a failing run can be repeated and made shorter."""
        self.turns = random.Random(seed)

    @property
    def store(self) -> Store:
        """The replica whose turn it is."""
        return self.turns.choice(self.stores)

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def do(self, operation: Operation) -> Outcome:
        outcome: Outcome = self.run(self.store.apply([operation]))[0]
        self.history.append((operation, outcome))
        return outcome

    def teardown(self) -> None:
        self._close()

    @rule(credits=st.integers(0, 2000))
    def grant(self, credits: int) -> None:
        assert self.do(Grant(secrets.token_hex(8), self.account, credits)) == Balanced(self.model.balance + credits)
        self.model.balance += credits

    @rule(credits=st.integers(1, 2000))
    def refund(self, credits: int) -> None:
        outcome = self.do(Refund(secrets.token_hex(8), self.account, credits))
        if credits > self.model.balance - self.model.held:
            assert isinstance(outcome, Refused)
            assert outcome.reason is Reason.INSUFFICIENT_CREDITS
        else:
            self.model.balance -= credits
            assert outcome == Balanced(self.model.balance)

    @rule(
        target=holds,
        capped=st.booleans(),
        prompt=st.integers(1, 300),
        most=st.integers(1, 300),
        choices=st.integers(1, 3),
    )
    def reserve(self, capped: bool, prompt: int, most: int, choices: int) -> Any:
        key = next(each for each in self.ceilings if each.startswith("capped") == capped)
        hold_id = new_hold_id(self.clock.now_us())
        operation = Reserve(
            hold_id, b"s" * 16, self.account, key, "m", PRICE, prompt, most, choices, 1, 1, LIMIT, self.ceilings[key]
        )
        free, outcome = self.model.free(key, self.ceilings), self.do(operation)
        now = self.clock.now_us()
        recent = [each for each in self.model.admitted_us if each > now - WINDOW_US]
        if len(recent) >= LIMIT:
            assert isinstance(outcome, Refused)
            assert (outcome.reason, outcome.retry_us) == (Reason.RATE_LIMITED, recent[-LIMIT] + WINDOW_US - now)
            return multiple()
        if PRICE.cost(prompt, 1) > free:
            assert isinstance(outcome, Refused)
            assert outcome.reason in (Reason.INSUFFICIENT_CREDITS, Reason.KEY_LIMIT_REACHED)
            return multiple()
        assert isinstance(outcome, Reserved)
        assert outcome.window.remaining == LIMIT - len(recent) - 1
        self._check_covered(outcome.covered_tokens, min(64, outcome.max_tokens * choices), prompt, free)
        assert outcome.max_tokens <= most
        held = PRICE.cost(prompt, outcome.covered_tokens)
        self.model.admitted_us.append(now)
        self.model.holds[hold_id] = ModelHold(
            key, prompt, most, choices, outcome.covered_tokens, outcome.max_tokens, held=held
        )
        return hold_id

    @staticmethod
    def _check_covered(covered: int, wanted: int, prompt: int, credits: int) -> None:
        """As much as was wanted, or so much that one token more could not be paid."""
        assert covered <= wanted
        assert PRICE.cost(prompt, covered) <= credits
        assert covered == wanted or PRICE.cost(prompt, covered + 1) > credits

    @rule(hold_id=holds, step=st.integers(0, 80))
    def progress(self, hold_id: bytes, step: int) -> None:
        hold = self.model.holds[hold_id]
        delivered = min(hold.covered, hold.delivered + step)
        free = self.model.free(hold.key, self.ceilings)
        outcome = self.do(Progress(hold_id, delivered))
        if hold.ended is not None:
            assert isinstance(outcome, Refused)
            return
        assert isinstance(outcome, Progressed)
        hold.delivered = delivered
        wanted = max(hold.covered, min(delivered + 64, hold.max_tokens * hold.choices))
        assert outcome.limited == (outcome.covered_tokens < wanted)
        if outcome.covered_tokens > hold.covered:
            self._check_covered(outcome.covered_tokens, wanted, hold.prompt, free + hold.held)
            hold.held = PRICE.cost(hold.prompt, outcome.covered_tokens)
        elif wanted > hold.covered:
            assert PRICE.cost(hold.prompt, hold.covered + 1) > free + hold.held
        hold.covered = outcome.covered_tokens

    @rule(hold_id=holds, more=st.integers(-50, 300))
    def slide_prompt(self, hold_id: bytes, more: int) -> None:
        """The engine counts the prompt anew: what is free of the difference is held, whatever the window does."""
        hold = self.model.holds[hold_id]
        free = self.model.free(hold.key, self.ceilings)
        prompt = max(1, hold.prompt + more)
        outcome = self.do(Progress(hold_id, 0, 0, prompt))
        if hold.ended is not None:
            assert isinstance(outcome, Refused)
            return
        assert isinstance(outcome, Progressed)
        assert outcome.covered_tokens >= hold.covered
        hold.prompt = max(hold.prompt, prompt)
        most = hold.held + free
        hold.held = min(PRICE.cost(hold.prompt, outcome.covered_tokens), most)
        if outcome.covered_tokens > hold.covered:
            assert hold.held == PRICE.cost(hold.prompt, outcome.covered_tokens) <= most
        hold.covered = outcome.covered_tokens

    @rule(hold_id=holds, tokens=st.integers(0, 400), unconfirmed=st.booleans())
    def settle(self, hold_id: bytes, tokens: int, unconfirmed: bool) -> None:
        hold = self.model.holds[hold_id]
        before = hold.ended
        self._end(
            hold_id, self.do(Settle(hold_id, tokens, 0, unconfirmed)), tokens, Released() if tokens == 0 else None
        )
        if before is None:
            hold.unconfirmed = unconfirmed and tokens > 0
        elif not unconfirmed:
            hold.unconfirmed = False

    @rule(hold_id=holds)
    def confirm(self, hold_id: bytes) -> None:
        hold = self.model.holds[hold_id]
        outcome = self.do(Confirm(hold_id))
        if hold.ended is None:
            assert isinstance(outcome, Refused)
            return
        assert outcome == Confirmed(hold.refunded)
        hold.unconfirmed = False

    @rule(hold_id=holds)
    def refund_answer(self, hold_id: bytes) -> None:
        hold = self.model.holds[hold_id]
        if hold.ended is None:
            return  # the sweeper asks for unconfirmed charges only
        assert self.do(RefundAnswer(hold_id)) == hold.ended
        if hold.unconfirmed:
            assert isinstance(hold.ended, Settled)
            hold.unconfirmed, hold.refunded = False, hold.ended.credits
            self.model.balance += hold.refunded
            self.model.spent[hold.key] -= hold.refunded

    @rule(hold_id=holds)
    def release(self, hold_id: bytes) -> None:
        self._end(hold_id, self.do(Release(hold_id)), 0, Released())

    @rule(hold_id=holds)
    def expire(self, hold_id: bytes) -> None:
        delivered = self.model.holds[hold_id].delivered
        self._end(hold_id, self.do(Expire(hold_id)), delivered, Settled(0) if delivered == 0 else None)

    def _end(self, hold_id: bytes, outcome: Outcome, tokens: int, expected: Outcome | None) -> None:
        hold = self.model.holds[hold_id]
        if hold.ended is not None:
            assert outcome == hold.ended
            return
        due = PRICE.cost(hold.prompt, tokens) if tokens else 0
        charged = min(due, hold.held)
        assert outcome == (expected or Settled(charged, due - charged))
        self.model.balance -= charged
        self.model.spent[hold.key] = self.model.spent.get(hold.key, 0) + charged
        hold.held, hold.ended = 0, outcome

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """A replay after a lost answer: nothing changes, and ended holds tell their end again."""
        if not self.history:
            return
        operation, first = self.history[data.draw(st.integers(0, len(self.history) - 1))]
        if isinstance(first, Refused) or isinstance(operation, Progress):
            return
        if isinstance(operation, Confirm):  # a refund may have come between
            assert self.run(self.store.apply([operation])) == [Confirmed(self.model.holds[operation.hold_id].refunded)]
            self.model.holds[operation.hold_id].unconfirmed = False
            return
        if isinstance(operation, RefundAnswer):
            self.refund_answer(operation.hold_id)
            return
        if isinstance(operation, Settle) and not operation.unconfirmed:
            self.model.holds[operation.hold_id].unconfirmed = False
        again = self.run(self.store.apply([operation]))[0]
        if isinstance(operation, Reserve):
            ended = self.model.holds[operation.hold_id].ended is not None
            assert isinstance(again, Refused) if ended else isinstance(again, Reserved)
        else:
            assert again == first

    @rule()
    def crash(self) -> None:
        """The process is gone and comes back; only what was committed counts."""
        self._close()
        self._open()

    @rule(seconds=st.floats(0.0, 70.0))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def money_is_right(self) -> None:
        balance = self.run(self.reader.balance(self.account))
        assert (balance.balance, balance.held) == (self.model.balance, self.model.held)
        assert 0 <= balance.held <= balance.balance


@pytest.mark.faults
@pytest.mark.beside
@pytest.mark.timeout(1800)  # the long run tries two hundred histories on each database
def test_any_order_of_operations_keeps_the_books(
    database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    loop = asyncio.new_event_loop()
    machine = type("Machine", (LedgerMachine,), {"url": database_url, "loop": loop})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )

        async def recount() -> None:
            async with opened(database_url, FakeClock()) as (database, _):
                assert (await Reader(database).recount()).differences == []

        loop.run_until_complete(recount())
    finally:
        loop.close()
