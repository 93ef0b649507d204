"""Usage: what was charged, summed up by day and model, and by endpoint, key and member too."""

from __future__ import annotations

from services.quota.domain.records import Books, Hold, UsageByDelta, UsageDelta

CHAT = "chat"  # the endpoint of a request whose edge names none: the version before served nothing else


def add_charge(books: Books, hold: Hold) -> None:
    """Counts a charge that was just made."""
    for delta in _of(books, hold):
        delta.credits += hold.credits
        delta.requests += 1
        delta.prompt_tokens += hold.prompt_tokens
        delta.output_tokens += hold.output_tokens
    _by(books, hold).last_used_us = books.now_us


def take_out(books: Books, hold: Hold, credits: int) -> None:
    """Takes out a charge that was given back; `credits` is what it had cost."""
    for delta in _of(books, hold):
        delta.credits -= credits
        delta.requests -= 1
        delta.prompt_tokens -= hold.prompt_tokens
        delta.output_tokens -= hold.output_tokens


def _of(books: Books, hold: Hold) -> tuple[UsageDelta, UsageByDelta]:
    return books.usage.setdefault((hold.account_id, hold.day, hold.model), UsageDelta()), _by(books, hold)


def _by(books: Books, hold: Hold) -> UsageByDelta:
    endpoint, member = hold.endpoint or CHAT, hold.member_id or ""
    name = (hold.account_id, hold.day, hold.model, endpoint, hold.key_id, member)
    return books.usage_by.setdefault(name, UsageByDelta())
