"""docs/states.md draws the tables as they are."""

from __future__ import annotations

import re
from pathlib import Path

from servicekit.state_table import diagram
from services.edge.peers.quota import hold_state

PAGE = Path(__file__).parents[3] / "docs" / "states.md"


def test_the_page_draws_every_table() -> None:
    drawn = re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert drawn == [diagram(hold_state.TRANSITIONS, hold_state.State.NEW)]
