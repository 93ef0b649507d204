"""The smoke test finds what it is for: broken answers, wrong charges, restarts that nothing lived through."""

from __future__ import annotations

from typing import Any

from tests.deploy.smoke import smoke

USAGE = {"prompt_tokens": 15, "completion_tokens": 400}


def answer(**changes: Any) -> dict[str, Any]:
    """What load.py tells of a good one."""
    good = {"key": "k", "whole": False, "began": 10.0, "ended": 20.0, "tokens": 400, "problem": None, "refused": []}
    return {**good, "usage": USAGE, **changes}


def receipt(**changes: Any) -> dict[str, Any]:
    """What /v1/usage/charges tells of it."""
    return {"state": "settled", "credits": 1215, **USAGE, **changes}


def test_good_answers_are_no_problem() -> None:
    assert smoke.broken([answer(), answer(whole=True)]) == []
    assert smoke.compare(0, [answer()], [receipt()], balance=0) == []


def test_an_answer_that_ended_early_is_found() -> None:
    [problem] = smoke.broken([answer(problem="the stream ended after 30 tokens without [DONE]")])
    assert "a stream of" in problem


def test_an_answer_with_fewer_tokens_than_it_says_is_found() -> None:
    assert "399 tokens came" in smoke.broken([answer(tokens=399)])[0]


def test_an_answer_that_was_not_charged_is_found() -> None:
    assert "seen and not charged" in smoke.compare(0, [answer(), answer()], [receipt()], balance=0)[0]


def test_an_answer_that_was_charged_twice_is_found() -> None:
    assert smoke.compare(0, [answer()], [receipt(), receipt()], balance=0)


def test_a_charge_of_other_tokens_is_found() -> None:
    assert smoke.compare(0, [answer()], [receipt(completion_tokens=399)], balance=0)


def test_a_hold_that_did_not_end_is_found() -> None:
    problems = smoke.compare(0, [answer(refused=["503"])], [receipt(), receipt(state="held")], balance=0)
    assert "'held'" in problems[0]


def test_credits_that_are_gone_are_found() -> None:
    assert "-5 credits" in smoke.compare(0, [answer()], [receipt()], balance=-5)[0]


def test_a_refused_request_may_have_a_released_receipt_and_others_may_not() -> None:
    released = receipt(state="released", credits=0, completion_tokens=0)
    assert smoke.compare(0, [answer(refused=["503"])], [receipt(), released], balance=0) == []
    assert "were not charged" in smoke.compare(0, [answer()], [receipt(), released], balance=0)[0]


def test_a_few_refusals_are_a_slow_machine_and_many_a_defect() -> None:
    many = [answer(refused=["HTTP 503"]) for _ in range(10)]
    assert smoke.refused([answer(refused=["HTTP 503"]), *[answer()] * 50]) == []
    assert len(smoke.refused([*many, *[answer()] * 30])) == 10


def test_a_restart_that_no_answer_lived_through_is_found() -> None:
    assert smoke.idle([answer()], {"auth": (12.0, 13.0)}) == []
    assert smoke.idle([answer()], {"auth": (21.0, 22.0)}) == ["no answer was under way when auth was restarted"]
