"""Accounts, keys and pages by themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.domain import errors, limits
from services.auth.domain.account import Account, AccountState, normalise_email
from services.auth.domain.key import KeyState, KeyTerms, mint
from services.auth.domain.page import Cursor
from services.auth.domain.principal import Defaults, admit

NOW = 1_750_000_000_000_000
ACCOUNT = Account("acct_1", "a@example.com", AccountState.ACTIVE, 3, None, NOW)
KEY = mint("acct_1", KeyTerms(), random_bytes=lambda size: bytes(range(size)), now_us=NOW).key
DEFAULTS = Defaults(requests_per_minute=60, max_open_streams=64)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("  a.b+tag@sub.example.org ", "a.b+tag@sub.example.org"),
        ("you@localhost", "you@localhost"),
        ("jo\u0308rg@bu\u0308cher.de", "j\u00f6rg@b\u00fccher.de"),
        ("x" * 64 + "@example.com", "x" * 64 + "@example.com"),
    ],
)
def test_an_email_is_stored_in_one_form(text: str, normal: str) -> None:
    assert normalise_email(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a b@example.com",
        "a@b@example.com",
        ".a@example.com",
        "a..b@example.com",
        "a@example..com",
        "a@-example.com",
        "a@example.com, b@example.com",
        "Ada <ada@example.com>",
        "a@exam\0ple.com",
        "a\u200b@example.com",
        "x" * 65 + "@example.com",
        "a@" + "x" * 64 + ".com",
        "a@" + ".".join(["x" * 50] * 6),
    ],
)
def test_what_is_not_one_email_is_refused(text: str) -> None:
    with pytest.raises(errors.EmailMalformed):
        normalise_email(text)


@given(st.emails(domains=st.just("example.com")))
def test_normalising_an_email_twice_changes_nothing_more(email: str) -> None:
    try:
        normal = normalise_email(email)
    except errors.EmailMalformed:
        return
    assert normalise_email(normal) == normal


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        (KeyTerms(name="x" * 101), errors.NameTooLong),
        (KeyTerms(name="two\nlines"), errors.TextMalformed),
        (KeyTerms(monthly_credit_limit=0), errors.LimitOutOfRange),
        (KeyTerms(requests_per_minute=0), errors.LimitOutOfRange),
        (KeyTerms(requests_per_minute=1_000_001), errors.LimitOutOfRange),
        (KeyTerms(allowed_models=tuple(map(str, range(101)))), errors.LimitOutOfRange),
        (KeyTerms(allowed_models=("",)), errors.LimitOutOfRange),
        (KeyTerms(allowed_models=("a\0b",)), errors.TextMalformed),
        (KeyTerms(expires_us=NOW), errors.ExpiryInPast),
    ],
)
def test_terms_outside_their_range_are_refused(terms: KeyTerms, error: type[Exception]) -> None:
    with pytest.raises(error):
        terms.check(NOW)


def test_terms_at_the_edge_of_their_range_are_taken() -> None:
    KeyTerms("x" * 100, 1, tuple(map(str, range(100))), NOW + 1, 1_000_000).check(NOW)


def test_a_key_expires_at_its_instant_and_revocation_is_stronger() -> None:
    key = replace(KEY, terms=KeyTerms(expires_us=NOW + 5))
    assert key.state(NOW + 4) is KeyState.ACTIVE
    assert key.state(NOW + 5) is KeyState.EXPIRED
    assert replace(key, revoked_us=NOW).state(NOW + 5) is KeyState.REVOKED


def test_a_key_shows_nine_characters_and_four() -> None:
    new = mint("acct_1", KeyTerms(), random_bytes=lambda size: bytes(range(size)), now_us=NOW)
    assert new.secret.startswith(new.key.prefix)
    assert len(new.key.prefix) == 9
    assert new.secret.endswith(new.key.last_four)
    assert len(new.key.last_four) == 4


def test_a_principal_has_the_accounts_own_limit_or_the_default() -> None:
    assert admit(KEY, ACCOUNT, DEFAULTS, NOW).requests_per_minute == 60
    assert admit(KEY, replace(ACCOUNT, requests_per_minute=5), DEFAULTS, NOW).requests_per_minute == 5


def test_a_key_that_does_not_work_says_why() -> None:
    suspended = replace(ACCOUNT, state=AccountState.SUSPENDED)
    with pytest.raises(errors.KeyRevoked):
        admit(replace(KEY, revoked_us=NOW), suspended, DEFAULTS, NOW)
    with pytest.raises(errors.KeyExpired):
        admit(replace(KEY, terms=KeyTerms(expires_us=NOW)), ACCOUNT, DEFAULTS, NOW)
    with pytest.raises(errors.AccountSuspended):
        admit(KEY, suspended, DEFAULTS, NOW)


@given(st.integers(0, 10**17), st.from_regex(r"\A(acct|key)_[0-9a-f]{24}\Z"))
def test_a_page_token_leads_back_to_its_row(created_us: int, row_id: str) -> None:
    cursor = Cursor(created_us, row_id)
    assert Cursor.parse(cursor.token()) == cursor


@given(st.text(min_size=1))
def test_a_made_up_page_token_is_refused_or_read_but_never_breaks(token: str) -> None:
    try:
        cursor = Cursor.parse(token)
    except errors.PageTokenMalformed:
        return
    assert cursor is not None


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (1000, 1000)])
def test_a_page_has_the_size_that_was_asked(asked: int, given: int) -> None:
    assert limits.page_size(asked) == given


@pytest.mark.parametrize("asked", [-1, 1001])
def test_a_page_size_out_of_range_is_refused_by_name(asked: int) -> None:
    with pytest.raises(errors.LimitOutOfRange) as refused:
        limits.page_size(asked)
    assert refused.value.metadata == {"field": "page_size"}
