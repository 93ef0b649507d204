"""What looks like a secret is not repeated."""

from __future__ import annotations

import pytest

from servicekit.observability.masking import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://muhgpt:word@db:5432/muhgpt", "postgresql://…@db:5432/muhgpt"),
        ("cannot read postgresql:/muhgpt:word@db/muhgpt: no file", "cannot read postgresql:/…@db/muhgpt: no file"),
        ("got 'mghp_0123456789abcdef'", "got 'mghp_…'"),
        ("Incorrect API key provided: sk-proj-abc_DEF-1.", "Incorrect API key provided: sk-…."),
        ("Authorization: Bearer abc.def", "Authorization: Bearer …"),
        ("127.0.0.1:8000 is in use; write to a@example.com", "127.0.0.1:8000 is in use; write to a@example.com"),
    ],
)
def test_the_rest_stays_as_it_is(text: str, shown: str) -> None:
    assert masked(text) == shown
