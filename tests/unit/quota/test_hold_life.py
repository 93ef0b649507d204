"""A hold's life: every step of the table through the rules that take it, and no other step."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from servicekit.state_table import IllegalMove
from services.quota.domain.apply import apply
from services.quota.domain.hold_life import TRANSITIONS, Life, Step, life_of, take_step
from services.quota.domain.operations import Confirm, Expire, Operation, RefundAnswer, Release, Reserve, Settle
from services.quota.domain.outcomes import Outcome, Reason, Refused, Released, Reserved, Settled
from services.quota.domain.pricing import Price
from services.quota.domain.records import Account, Books, Hold, Key, KeyMonth, State

ID = (1_750_000_000_000).to_bytes(6, "big") + b"hold-hold-"
NOW_US = 1_750_000_000_000_000
PRICE = Price(1_000_000, 3_000_000)

# What leads to each state, and what takes each step there.
TO: dict[Life, list[Operation]] = {
    Life.HELD: [],
    Life.UNCONFIRMED: [Settle(ID, 5, unconfirmed=True)],
    Life.CHARGED: [Settle(ID, 5)],
    Life.REFUNDED: [Settle(ID, 5, unconfirmed=True), RefundAnswer(ID)],
    Life.RELEASED: [Release(ID)],
    Life.EXPIRED: [Expire(ID)],
}
BY: dict[Step, Operation] = {
    Step.CHARGE: Settle(ID, 5),
    Step.CHARGE_UNWRITTEN: Settle(ID, 5, unconfirmed=True),
    Step.RELEASE: Release(ID),
    Step.EXPIRE: Expire(ID),
    Step.CONFIRM: Confirm(ID),
    Step.REFUND: RefundAnswer(ID),
}


def books(balance: int = 1000) -> Books:
    found = Books(NOW_US)
    found.accounts["a"] = Account("a", balance=balance)
    found.keys["k"] = Key("k", "a")
    found.months[("k", 202506)] = KeyMonth("k", 202506)
    return found


def reserve(**fields: Any) -> Reserve:
    wanted: dict[str, Any] = {"prompt_tokens": 10, "max_tokens": 100, "choices": 1} | fields
    ids = {"hold_id": ID, "session_id": b"s", "account_id": "a", "key_id": "k", "model": "m", "price": PRICE}
    return Reserve(**ids, **wanted, account_version=1, key_version=1, requests_per_minute=60)


def do(held: Books, *operations: Operation) -> list[Outcome]:
    return [apply(held, operation) for operation in operations]


def in_life(life: Life) -> Books:
    found = books()
    do(found, reserve(), *TO[life])
    assert life_of(found.holds[ID]) is life
    return found


@pytest.mark.parametrize(("life", "step"), [(life, step) for life, steps in TRANSITIONS.items() for step in steps])
def test_each_step_of_the_table_is_taken_by_its_operation(life: Life, step: Step) -> None:
    found = in_life(life)
    do(found, BY[step])
    assert life_of(found.holds[ID]) is TRANSITIONS[life][step]


@pytest.mark.parametrize(
    ("life", "step"), [each for each in itertools.product(Life, Step) if each[1] not in TRANSITIONS[each[0]]]
)
def test_a_step_that_is_not_in_the_table_raises_and_its_operation_changes_nothing(life: Life, step: Step) -> None:
    found = in_life(life)
    before = found.accounts["a"].balance
    if (life, step) != (Life.UNCONFIRMED, Step.CHARGE):  # a settlement repeated without the mark confirms
        do(found, BY[step])
        assert (life_of(found.holds[ID]), found.accounts["a"].balance) == (life, before)
    with pytest.raises(IllegalMove):
        take_step(found.holds[ID], step)


@pytest.mark.parametrize(
    ("settle", "credits", "life"),
    [
        (Settle(ID, 0), 0, Life.RELEASED),
        (Settle(ID, 0, produced=True), 10, Life.CHARGED),
        (Settle(ID, 0, produced=True, unconfirmed=True), 10, Life.UNCONFIRMED),
        (Settle(ID, 0, produced=False, unconfirmed=True), 0, Life.RELEASED),
        (Settle(ID, 5, produced=False), 0, Life.RELEASED),
        (Settle(ID, 5), 25, Life.CHARGED),
        (Settle(ID, 5, produced=True), 25, Life.CHARGED),
    ],
)
def test_what_was_produced_is_charged_and_nothing_else(settle: Settle, credits: int, life: Life) -> None:
    found = books()
    outcome = do(found, reserve(), settle)[1]
    assert outcome == (Released() if life is Life.RELEASED else Settled(credits))
    assert life_of(found.holds[ID]) is life
    assert (found.accounts["a"].balance, found.accounts["a"].held) == (1000 - credits, 0)
    assert sum(each.requests for each in found.usage.values()) == (credits > 0)


def test_work_without_output_tokens_holds_its_prompt_and_needs_no_more() -> None:
    found = books(balance=10)
    reserved = do(found, reserve(max_tokens=0))[0]
    assert isinstance(reserved, Reserved)
    assert (reserved.max_tokens, reserved.covered_tokens, found.accounts["a"].held) == (0, 0, 10)
    assert do(found, Settle(ID, 0, produced=True)) == [Settled(10)]


@pytest.mark.parametrize(("max_tokens", "balance"), [(0, 9), (1, 12), (100, 12)])
def test_what_cannot_be_paid_is_refused(max_tokens: int, balance: int) -> None:
    refused = do(books(balance=balance), reserve(max_tokens=max_tokens))[0]
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.INSUFFICIENT_CREDITS


def test_the_stored_states_are_those_of_the_table() -> None:
    found: dict[Life, Hold] = {life: in_life(life).holds[ID] for life in Life}
    assert {life: hold.state for life, hold in found.items()} == {
        Life.HELD: State.HELD,
        Life.UNCONFIRMED: State.SETTLED,
        Life.CHARGED: State.SETTLED,
        Life.REFUNDED: State.SETTLED,
        Life.RELEASED: State.RELEASED,
        Life.EXPIRED: State.EXPIRED,
    }
