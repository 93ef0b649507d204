"""The loss book: what the rules in favour of clients cost the operator, by account and day."""

from __future__ import annotations

from services.quota.domain.pricing import Price
from services.quota.domain.records import Books, Hold, LossDelta


def of(books: Books, hold: Hold) -> LossDelta:
    """Where the losses of this request are added up."""
    return books.losses.setdefault((hold.account_id, hold.day), LossDelta())


def note_count(books: Books, hold: Hold, prompt_tokens: int) -> None:
    """The engine counted an estimated prompt: books the estimate less this count, in credits."""
    if hold.estimated and prompt_tokens != hold.prompt_tokens:
        price = Price(hold.input_price, hold.output_price)
        of(books, hold).estimate_minus_usage += price.cost(hold.prompt_tokens, 0) - price.cost(prompt_tokens, 0)


def note_abandoned(books: Books, hold: Hold) -> None:
    """The client left before the first token: books what its prompt would have cost."""
    if credits := Price(hold.input_price, hold.output_price).cost(hold.prompt_tokens, 0):
        of(books, hold).abandoned += credits
