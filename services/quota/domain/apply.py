"""One operation on the books. Pure: same books, same operation, same outcome, on every database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.quota.domain import confirmation, credits, holds
from services.quota.domain import reserve as admission
from services.quota.domain.operations import (
    Confirm,
    Expire,
    Grant,
    Operation,
    Progress,
    Refund,
    RefundAnswer,
    Release,
    Reserve,
    Settle,
)
from services.quota.domain.outcomes import Outcome
from services.quota.domain.records import Books

RULES: dict[type[Any], Callable[[Books, Any], Outcome]] = {
    Reserve: admission.reserve,
    Progress: holds.progress,
    Settle: holds.settle,
    Confirm: confirmation.confirm,
    RefundAnswer: confirmation.refund_answer,
    Release: holds.release,
    Expire: holds.expire,
    Grant: credits.grant,
    Refund: credits.refund,
}


def apply(books: Books, operation: Operation) -> Outcome:
    """Changes the records in memory and returns what became of the operation."""
    return RULES[type(operation)](books, operation)
