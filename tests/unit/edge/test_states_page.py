"""docs/states.md draws the tables as they are."""

from __future__ import annotations

import re
from pathlib import Path

from servicekit.state_table import diagram
from services.edge.peers.quota import hold_state
from services.edge.serving import answer_state
from services.inference.domain import generation_state
from services.quota.domain import hold_life

PAGE = Path(__file__).parents[3] / "docs" / "states.md"


def test_the_page_draws_every_table() -> None:
    drawn = re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(), re.DOTALL)
    at_the_edge = diagram(hold_state.TRANSITIONS, hold_state.State.NEW)
    answers = diagram(answer_state.TRANSITIONS, answer_state.State.RUNNING)
    in_the_books = diagram(hold_life.TRANSITIONS, hold_life.Life.HELD)
    in_inference = diagram(generation_state.TRANSITIONS, generation_state.State.PREPARING)
    assert drawn == [at_the_edge, answers, in_the_books, in_inference]
