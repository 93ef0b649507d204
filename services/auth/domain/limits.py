"""Ranges of what operators may set; one place for the rule and the sentence that explains it."""

from __future__ import annotations

from services.auth.domain.errors import LimitOutOfRange

MAX_REQUESTS_PER_MINUTE = 1_000_000
MAX_CREDITS = 2**63 - 1
MAX_MODELS = 100
MAX_MODEL_LENGTH = 200
MAX_NAME_LENGTH = 100
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000


def check_range(field: str, value: int | None, highest: int) -> int | None:
    """Gives the value back when it is absent or 1 to `highest`. Raises LimitOutOfRange that names the field."""
    if value is None or 1 <= value <= highest:
        return value
    raise LimitOutOfRange(f"{field} must be from 1 to {highest:,}, not {value:,}", field=field)


def check_requests_per_minute(value: int | None) -> int | None:
    """The range of both the account's and the key's limit. Raises LimitOutOfRange."""
    return check_range("requests_per_minute", value, MAX_REQUESTS_PER_MINUTE)


def page_size(asked: int) -> int:
    """How many rows a page has; 0 asks for the usual number. Raises LimitOutOfRange."""
    return check_range("page_size", asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE
