"""docs/compatibility.md names every field of a request, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.edge.endpoints.chat.request import ChatRequest, ContentPart, Message

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "compatibility.md").read_text()
ROWS = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "| what happens |" not in line]
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_named_test_exists(file: str, name: str) -> None:
    assert re.search(rf"^(?:async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


@pytest.mark.parametrize("field", [*ChatRequest.model_fields, *Message.model_fields, *ContentPart.model_fields])
def test_every_field_has_its_line(field: str) -> None:
    if field not in ("role", "type"):  # their values have the lines
        assert any(f"`{field}" in row[0] or f" {field}" in row[0] for row in ROWS)


def test_every_line_says_what_becomes_of_it_and_which_test_shows_it() -> None:
    assert len(ROWS) > 70
    for row in ROWS:
        assert len(row) == 4, row
        assert row[1] in ("supported", "different", "ignored", "refused", "absent"), row
        assert re.fullmatch(r"`tests/[\w/]+\.py::\w+` \|", row[3]), row
