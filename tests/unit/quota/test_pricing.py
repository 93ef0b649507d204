"""What tokens cost and what credits can pay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.quota.domain.pricing import UNBOUNDED, Price

prices = st.builds(Price, st.integers(0, 10**12), st.integers(0, 10**12))
tokens = st.integers(0, 10**8)


def test_the_default_price_is_1_and_3_credits_a_token() -> None:
    assert Price(1_000_000, 3_000_000).cost(10, 20) == 70


def test_a_fraction_of_a_credit_is_rounded_up_once_for_the_request() -> None:
    assert Price(1, 1).cost(1, 1) == 1
    assert Price(500_000, 500_000).cost(1, 1) == 1
    assert Price(500_000, 500_000).cost(2, 1) == 2


@given(prices, st.integers(0, 10**15), tokens)
def test_affordable_is_the_largest_number_that_can_be_paid(price: Price, credits: int, prompt: int) -> None:
    output = price.affordable(credits, prompt)
    if output < 0:
        assert price.cost(prompt, 0) > credits
        return
    assert price.cost(prompt, output) <= credits
    assert output == UNBOUNDED or price.cost(prompt, output + 1) > credits
