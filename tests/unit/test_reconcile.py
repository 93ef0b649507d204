"""What the fault tests take as the right price (tests/faults/reconcile.py)."""

from __future__ import annotations

import pytest

from tests.faults.client import Received
from tests.faults.reconcile import WINDOW, compare

TOKENS = 500


def stream(usage: int | None = TOKENS, *, tokens: int = TOKENS, left: bool = False) -> Received:
    return Received(status=200, tokens=tokens, usage=None if usage is None else (10, usage), left=left)


@pytest.mark.parametrize(
    ("paid", "parted", "right"),
    [
        (TOKENS, False, True),
        (TOKENS - 1, False, False),
        (TOKENS, True, True),
        (TOKENS - 1, True, True),
        (TOKENS - WINDOW, True, True),
        (TOKENS - WINDOW - 1, True, False),
        (TOKENS + 1, True, False),
        (0, True, False),
    ],
)
def test_an_answer_with_usage_costs_that_and_up_to_a_window_less_when_its_edge_was_parted(
    paid: int, parted: bool, right: bool
) -> None:
    assert (compare(stream(), paid, parted=parted) is None) is right


def test_an_answer_whose_usage_is_not_what_came_is_wrong_also_when_its_edge_was_parted() -> None:
    assert compare(stream(tokens=TOKENS - 1), TOKENS - 1, parted=True) is not None


@pytest.mark.parametrize(("paid", "right"), [(TOKENS, True), (TOKENS - WINDOW, True), (TOKENS - WINDOW - 1, False)])
def test_an_answer_that_was_cut_costs_what_came_or_a_window_less(paid: int, right: bool) -> None:
    assert (compare(stream(None), paid) is None) is right


@pytest.mark.parametrize(
    ("paid", "right"), [(TOKENS - 1, False), (TOKENS + WINDOW, True), (TOKENS + WINDOW + 1, False)]
)
def test_an_answer_that_was_left_costs_what_came_or_a_window_more(paid: int, right: bool) -> None:
    assert (compare(stream(None, left=True), paid) is None) is right
