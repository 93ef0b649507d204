"""The framing of OpenAI's chats takes every schema that a client may send, in time that its size bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engines.upstream.tokens.openai_framing import frame, image_tokens

NAMES = st.sampled_from(["properties", "type", "enum", "description", "items", "anyOf", "a"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=30,
)


def tool(parameters: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "t", "parameters": parameters, **fields}}


def framed(*tools: dict[str, Any]) -> Any:
    return frame({"messages": [], "tools": list(tools), "schema": ""}, "o200k_base")


@given(VALUES)
def test_no_schema_is_too_odd(parameters: Any) -> None:
    found = framed(tool(parameters))
    assert found.estimated
    assert all(isinstance(text, str) for text in found.texts)


def test_deeply_nested_schemas_are_not_written_anew_at_each_level() -> None:
    schema: dict[str, Any] = {"description": "x" * 1000}
    for _ in range(200):
        schema = {"anyOf": [1], "properties": {"a": schema}}
    assert sum(map(len, framed(tool(schema)).texts)) < 10_000


def test_a_tool_without_anything_but_a_name_counts_too() -> None:
    found = framed({"type": "function", "function": {"name": "look"}})
    assert (found.tokens, found.texts) == (3 + 12 + 7, ["look:"])


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((0, 0), 255), ((1, 1), 255), ((512, 512), 255), ((513, 512), 425), ((1024, 1024), 765), ((10_000, 10), 765)],
)
def test_an_image_takes_tiles_of_512_pixels(size: tuple[int, int], tokens: int) -> None:
    assert image_tokens(*size) == tokens
