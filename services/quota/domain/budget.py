"""What a hold may still take: the account's free balance and, when the key has one, its month's free ceiling."""

from __future__ import annotations

from services.quota.domain.records import Account, Books, Hold, Key, KeyMonth


def free(account: Account, month: KeyMonth) -> int:
    """Credits that can be held now; never negative."""
    left = account.balance - account.held
    if month.ceiling is not None:
        left = min(left, month.ceiling - month.spent - month.held)
    return max(0, left)


def take(account: Account, month: KeyMonth, credits: int) -> None:
    """Moves credits into holds. The caller made sure that they are free; the database's constraints check it again."""
    account.held += credits
    month.held += credits
    account.dirty = month.dirty = True


def give_back(account: Account, month: KeyMonth, credits: int) -> None:
    """Moves credits out of holds."""
    take(account, month, -credits)


def month_of(books: Books, hold: Hold) -> KeyMonth:
    """The key's month that the hold belongs to: the one of its reservation, even when it ends in the next."""
    return books.months[(hold.key_id, hold.month)]


def set_ceiling(month: KeyMonth, key: Key) -> None:
    """Applies the key's ceiling to a month. What was already granted stays granted when the ceiling was lowered."""
    limit = key.monthly_credit_limit
    ceiling = None if limit is None else max(limit, month.spent + month.held)
    if ceiling != month.ceiling:
        month.ceiling = ceiling
        month.dirty = True
