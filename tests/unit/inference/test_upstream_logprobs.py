"""Log probabilities as upstreams send them, whatever they send."""

from __future__ import annotations

from typing import Any

import pytest

from services.inference.engines.upstream.choice import read_logprobs


@pytest.mark.parametrize("told", [None, 2_000_000_000, "61", True, [256], [-1], ["a"], {}])
def test_bytes_that_are_no_bytes_are_the_tokens(told: Any) -> None:
    """A number above all: it is a length to Python, and would be allocated."""
    (found,) = read_logprobs({"content": [{"token": "a", "logprob": -1, "bytes": told}]})
    assert found.utf8 == b"a"


def test_bytes_are_taken_as_they_are() -> None:
    (found,) = read_logprobs({"content": [{"token": "?", "logprob": -1, "bytes": [240, 159]}]})
    assert found.utf8 == b"\xf0\x9f"
