"""What looks like a secret is not repeated, wherever it stands: a database URL where a number should be, say."""

from __future__ import annotations

import re

SECRETS = (
    (re.compile(r"(:/{1,3})[^\s/@]*@"), r"\1…@"),  # user and password of a URL
    (re.compile(r"(mghp_|\bsk-)[\w-]+"), r"\1…"),  # API keys: ours wherever they begin, and those of most providers
    (re.compile(r"(?i)(\bbearer\s+)\S+"), r"\1…"),
)


def masked(text: str) -> str:
    """The text without what looks like a secret."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text
