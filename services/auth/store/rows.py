"""Rows to nouns and back."""

from __future__ import annotations

from services.auth.domain.account import Account, AccountState
from services.auth.domain.change import Change, ChangeKind
from services.auth.domain.key import Key, KeyTerms, NewKey
from services.auth.tables import AccountRow, ChangeRow, KeyRow


def to_account(row: AccountRow) -> Account:
    """An account as the domain knows it."""
    return Account(
        account_id=row.account_id,
        email=row.email,
        state=AccountState(row.state),
        version=row.version,
        requests_per_minute=row.requests_per_minute,
        created_us=row.created_us,
    )


def from_account(account: Account) -> AccountRow:
    """The row of a new account."""
    return AccountRow(
        account_id=account.account_id,
        email=account.email,
        state=account.state.value,
        version=account.version,
        requests_per_minute=account.requests_per_minute,
        created_us=account.created_us,
    )


def to_key(row: KeyRow) -> Key:
    """A key as the domain knows it."""
    terms = KeyTerms(
        name=row.name,
        monthly_credit_limit=row.monthly_credit_limit,
        allowed_models=tuple(row.allowed_models),
        expires_us=row.expires_us,
        requests_per_minute=row.requests_per_minute,
    )
    return Key(
        key_id=row.key_id,
        account_id=row.account_id,
        prefix=row.prefix,
        last_four=row.last_four,
        terms=terms,
        version=row.version,
        created_us=row.created_us,
        revoked_us=row.revoked_us,
    )


def from_new_key(new: NewKey) -> KeyRow:
    """The row of a new key: its digest, never its secret."""
    key, terms = new.key, new.key.terms
    return KeyRow(
        key_id=key.key_id,
        account_id=key.account_id,
        digest=new.digest,
        name=terms.name,
        prefix=key.prefix,
        last_four=key.last_four,
        version=key.version,
        monthly_credit_limit=terms.monthly_credit_limit,
        allowed_models=list(terms.allowed_models),
        requests_per_minute=terms.requests_per_minute,
        created_us=key.created_us,
        expires_us=terms.expires_us,
    )


def to_change(row: ChangeRow) -> Change:
    """A change as the domain knows it."""
    return Change(row.sequence, ChangeKind(row.kind), row.account_id, row.key_id)
