"""How many prompts of one account are prepared at once."""

from __future__ import annotations

from functools import partial

from services.edge.serving.preparations import Preparations


def test_an_accounts_prompts_are_prepared_in_turns() -> None:
    preparations = Preparations(2)
    woken: list[str] = []
    turns = [preparations.enter("acct_1", partial(woken.append, name)) for name in "abcd"]
    assert [turn.granted for turn in turns] == [True, True, False, False]
    assert preparations.enter("acct_2", lambda: None).granted
    turns[2].end()  # its client left
    turns[0].end()
    turns[0].end()
    assert woken == ["d"]
    assert turns[3].granted
