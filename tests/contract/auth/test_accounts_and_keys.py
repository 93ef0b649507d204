"""Every unary method of auth.proto, and every failure that it documents, through a real port."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from common import key_format
from muhgpt.auth.v1 import auth_pb2
from servicekit.rpc.client import connect
from servicekit.rpc.status import RpcFailure
from tests.fakes import FakeClock
from tests.worlds.in_process.auth import Auth, Caller

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


async def refused(awaitable: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(RpcFailure) as failure:
        await awaitable
    assert failure.value.domain == "auth.muhgpt"
    return failure.value.code, failure.value.reason


async def test_a_new_account_can_be_found_by_id_and_by_email_in_any_case(auth: Auth) -> None:
    made = await auth.account("Ada@Example.com", requests_per_minute=7)
    assert made.account_id.startswith("acct_")
    assert made.email == "ada@example.com"
    assert made.state == auth_pb2.Account.STATE_ACTIVE
    assert made.requests_per_minute == 7
    by_id = await auth.operator.GetAccount(auth_pb2.GetAccountRequest(account_id=made.account_id))
    by_email = await auth.operator.GetAccount(auth_pb2.GetAccountRequest(email=" ADA@example.COM"))
    assert by_id.account == by_email.account == made


async def test_an_email_belongs_to_one_account_whatever_its_case(auth: Auth) -> None:
    await auth.account("ada@example.com")
    assert await refused(auth.account("ADA@EXAMPLE.COM")) == (grpc.StatusCode.ALREADY_EXISTS, "EMAIL_TAKEN")


async def test_of_many_accounts_made_at_once_with_one_email_one_is_made(auth: Auth) -> None:
    made = await asyncio.gather(*(auth.account() for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(account, auth_pb2.Account) for account in made) == 1


async def test_bad_accounts_are_refused(auth: Auth) -> None:
    assert await refused(auth.account("nobody")) == (INVALID, "EMAIL_MALFORMED")
    assert await refused(auth.account(requests_per_minute=0)) == (INVALID, "LIMIT_OUT_OF_RANGE")
    assert await refused(auth.account(requests_per_minute=1_000_001)) == (INVALID, "LIMIT_OUT_OF_RANGE")


@pytest.mark.parametrize("account_id", ["", "acct_nobody", "nul\0", "x" * 5000])
async def test_an_unknown_account_is_not_found_by_any_method(auth: Auth, account_id: str) -> None:
    calls = [
        auth.operator.GetAccount(auth_pb2.GetAccountRequest(account_id=account_id)),
        auth.operator.UpdateAccount(auth_pb2.UpdateAccountRequest(account_id=account_id)),
        auth.operator.SuspendAccount(auth_pb2.SuspendAccountRequest(account_id=account_id)),
        auth.operator.ResumeAccount(auth_pb2.ResumeAccountRequest(account_id=account_id)),
        auth.operator.CreateKey(auth_pb2.CreateKeyRequest(account_id=account_id)),
    ]
    if account_id:
        calls.append(auth.operator.ListKeys(auth_pb2.ListKeysRequest(account_id=account_id)))
    for call in calls:
        assert await refused(call) == (NOT_FOUND, "ACCOUNT_UNKNOWN")


async def test_an_unknown_email_and_no_name_at_all_are_not_found(auth: Auth) -> None:
    nobody = auth.operator.GetAccount(auth_pb2.GetAccountRequest(email="nobody@example.com"))
    assert await refused(nobody) == (NOT_FOUND, "ACCOUNT_UNKNOWN")
    malformed = auth.operator.GetAccount(auth_pb2.GetAccountRequest(email="no email at all"))
    assert await refused(malformed) == (NOT_FOUND, "ACCOUNT_UNKNOWN")
    assert await refused(auth.operator.GetAccount(auth_pb2.GetAccountRequest())) == (NOT_FOUND, "ACCOUNT_UNKNOWN")


async def test_accounts_are_counted_suspended_ones_too(auth: Auth) -> None:
    assert (await auth.operator.CountAccounts(auth_pb2.CountAccountsRequest())).accounts == 0
    ada = await auth.account()
    await auth.account("bob@example.com")
    await auth.operator.SuspendAccount(auth_pb2.SuspendAccountRequest(account_id=ada.account_id))
    assert (await auth.operator.CountAccounts(auth_pb2.CountAccountsRequest())).accounts == 2
    with pytest.raises(RpcFailure, match="PERMISSION_DENIED"):
        await auth.edge.CountAccounts(auth_pb2.CountAccountsRequest())


async def test_accounts_are_listed_oldest_first_in_pages_that_neither_skip_nor_repeat(
    auth: Auth, clock: FakeClock
) -> None:
    made = []
    for number in range(7):
        made.append((await auth.account(f"user{number}@example.com")).account_id)
        clock.advance(1 if number % 2 else 0)  # some are made in the same microsecond
    seen, token = [], ""
    while True:
        page = await auth.operator.ListAccounts(auth_pb2.ListAccountsRequest(page_size=3, page_token=token))
        seen += [account.account_id for account in page.accounts]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(made)
    assert seen[0] in made[:2]
    assert seen[-1] == made[-1]


async def test_bad_pages_are_refused(auth: Auth) -> None:
    too_big = auth.operator.ListAccounts(auth_pb2.ListAccountsRequest(page_size=1001))
    assert await refused(too_big) == (INVALID, "LIMIT_OUT_OF_RANGE")
    made_up = auth.operator.ListKeys(auth_pb2.ListKeysRequest(page_token="made up"))
    assert await refused(made_up) == (INVALID, "PAGE_TOKEN_MALFORMED")


async def test_new_limits_reach_the_principal_with_a_higher_version(auth: Auth) -> None:
    account = await auth.account()
    key = await auth.key(account)
    before = (await auth.authenticate(key.secret)).principal
    request = auth_pb2.UpdateAccountRequest(account_id=account.account_id, requests_per_minute=500)
    assert (await auth.operator.UpdateAccount(request)).account.requests_per_minute == 500
    after = (await auth.authenticate(key.secret)).principal
    assert (before.requests_per_minute, after.requests_per_minute) == (60, 500)
    assert after.account_version > before.account_version
    await auth.operator.UpdateAccount(request)
    assert (await auth.authenticate(key.secret)).principal == after
    back = await auth.operator.UpdateAccount(auth_pb2.UpdateAccountRequest(account_id=account.account_id))
    assert not back.account.HasField("requests_per_minute")
    bad = auth_pb2.UpdateAccountRequest(account_id=account.account_id, requests_per_minute=-1)
    assert await refused(auth.operator.UpdateAccount(bad)) == (INVALID, "LIMIT_OUT_OF_RANGE")


async def test_a_suspended_accounts_keys_stop_until_it_is_resumed(auth: Auth) -> None:
    account = await auth.account()
    key = await auth.key(account)
    for _ in range(2):  # idempotent
        stopped = await auth.operator.SuspendAccount(auth_pb2.SuspendAccountRequest(account_id=account.account_id))
        assert stopped.account.state == auth_pb2.Account.STATE_SUSPENDED
        assert stopped.sessions_timed_out == 0
    expected = (grpc.StatusCode.UNAUTHENTICATED, "ACCOUNT_SUSPENDED")
    assert await refused(auth.authenticate(key.secret)) == expected
    for _ in range(2):
        resumed = await auth.operator.ResumeAccount(auth_pb2.ResumeAccountRequest(account_id=account.account_id))
        assert resumed.account.state == auth_pb2.Account.STATE_ACTIVE
    assert (await auth.authenticate(key.secret)).principal.account_version == 3


async def test_a_new_keys_terms_come_back_in_its_principal(auth: Auth, clock: FakeClock) -> None:
    account = await auth.account()
    request = auth_pb2.CreateKeyRequest(
        account_id=account.account_id,
        name="laptop",
        monthly_credit_limit=1000,
        allowed_models=["muh-chat", "gpt-4o", "muh-chat"],
        requests_per_minute=5,
    )
    request.expires_at.FromMicroseconds(clock.now_us() + 60_000_000)
    made = await auth.operator.CreateKey(request)
    assert key_format.is_well_formed(made.secret)
    assert (made.key.prefix, made.key.last_four) == (made.secret[:9], made.secret[-4:])
    assert made.key.state == auth_pb2.Key.STATE_ACTIVE
    answer = await auth.authenticate(made.secret)
    assert answer.principal == auth_pb2.Principal(
        account_id=account.account_id,
        key_id=made.key.key_id,
        account_version=1,
        key_version=1,
        requests_per_minute=60,
        max_open_streams=64,
        monthly_credit_limit=1000,
        allowed_models=["muh-chat", "gpt-4o"],
        expires_at=request.expires_at,
        key_requests_per_minute=5,
    )


async def test_a_plain_key_has_no_limits_of_its_own(auth: Auth) -> None:
    key = await auth.key(await auth.account())
    principal = (await auth.authenticate(key.secret)).principal
    for absent in ("monthly_credit_limit", "expires_at", "key_requests_per_minute"):
        assert not principal.HasField(absent)
    assert not principal.allowed_models


async def test_bad_keys_are_refused(auth: Auth, clock: FakeClock) -> None:
    account = await auth.account()
    past = auth_pb2.CreateKeyRequest(account_id=account.account_id)
    past.expires_at.FromMicroseconds(clock.now_us())
    assert await refused(auth.operator.CreateKey(past)) == (INVALID, "EXPIRY_IN_PAST")
    past.expires_at.seconds = 2**62
    assert await refused(auth.operator.CreateKey(past)) == (INVALID, "LIMIT_OUT_OF_RANGE")
    assert await refused(auth.key(account, name="x" * 101)) == (INVALID, "NAME_TOO_LONG")
    assert await refused(auth.key(account, monthly_credit_limit=0)) == (INVALID, "LIMIT_OUT_OF_RANGE")
    assert await refused(auth.key(account, requests_per_minute=0)) == (INVALID, "LIMIT_OUT_OF_RANGE")


async def test_an_eleventh_active_key_is_refused_until_one_is_revoked_or_expires(auth: Auth, clock: FakeClock) -> None:
    account = await auth.account()
    request = auth_pb2.CreateKeyRequest(account_id=account.account_id)
    request.expires_at.FromMicroseconds(clock.now_us() + 60_000_000)
    await auth.operator.CreateKey(request)
    keys = [await auth.key(account) for _ in range(9)]
    too_many = (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_KEYS")
    assert await refused(auth.key(account)) == too_many
    clock.advance(60)
    await auth.key(account)
    assert await refused(auth.key(account)) == too_many
    await auth.revoking(keys[0].key.key_id)
    await auth.key(account)
    await auth.key(await auth.account("another@example.com"))


async def test_keys_are_listed_newest_first_with_their_state_and_without_secrets(auth: Auth, clock: FakeClock) -> None:
    account = await auth.account()
    request = auth_pb2.CreateKeyRequest(account_id=account.account_id)
    request.expires_at.FromMicroseconds(clock.now_us() + 1_000_000)
    made = [await auth.operator.CreateKey(request)]
    for _ in range(2):
        clock.advance(1)
        made.append(await auth.key(account))
    await auth.revoking(made[1].key.key_id)
    await auth.key(await auth.account("another@example.com"))
    first = await auth.operator.ListKeys(auth_pb2.ListKeysRequest(account_id=account.account_id, page_size=2))
    request = auth_pb2.ListKeysRequest(account_id=account.account_id, page_size=2, page_token=first.next_page_token)
    rest = await auth.operator.ListKeys(request)
    listed = [*first.keys, *rest.keys]
    assert [key.key_id for key in listed] == [key.key.key_id for key in reversed(made)]
    assert [key.state for key in listed] == [
        auth_pb2.Key.STATE_ACTIVE,
        auth_pb2.Key.STATE_REVOKED,
        auth_pb2.Key.STATE_EXPIRED,
    ]
    assert listed[1].HasField("revoked_at")
    assert not rest.next_page_token
    assert len((await auth.operator.ListKeys(auth_pb2.ListKeysRequest())).keys) == 4
    for key in made:
        assert key.secret.encode() not in first.SerializeToString()


async def test_a_revoked_key_is_refused_for_ever_and_revoking_again_says_the_same(auth: Auth) -> None:
    key = await auth.key(await auth.account())
    answers = [await auth.revoking(key.key.key_id) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].key.state == auth_pb2.Key.STATE_REVOKED
    assert await refused(auth.authenticate(key.secret)) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_REVOKED")
    assert await refused(auth.revoking("key_nobody")) == (NOT_FOUND, "KEY_UNKNOWN")
    assert await refused(auth.revoking("nul\0")) == (NOT_FOUND, "KEY_UNKNOWN")


async def test_a_key_given_where_its_id_belongs_is_not_repeated_in_the_error(auth: Auth) -> None:
    key = await auth.key(await auth.account())
    with pytest.raises(RpcFailure) as failure:
        await auth.revoking(key.secret)
    assert key.secret not in repr(failure.value)


async def test_a_key_that_does_not_authenticate_says_why(auth: Auth, clock: FakeClock) -> None:
    account = await auth.account()
    request = auth_pb2.CreateKeyRequest(account_id=account.account_id)
    request.expires_at.FromMicroseconds(clock.now_us() + 1)
    expiring = await auth.operator.CreateKey(request)
    clock.advance(1)
    unauthenticated = grpc.StatusCode.UNAUTHENTICATED
    assert await refused(auth.authenticate(expiring.secret)) == (unauthenticated, "KEY_EXPIRED")
    assert await refused(auth.authenticate("mghp_nobody")) == (unauthenticated, "KEY_UNKNOWN")
    for digest in (b"", b"x" * 31, b"x" * 33):
        call = auth.edge.Authenticate(auth_pb2.AuthenticateRequest(key_digest=digest))
        assert await refused(call) == (INVALID, "DIGEST_MALFORMED")


async def test_an_answer_says_which_changes_it_knows(auth: Auth) -> None:
    account = await auth.account()
    kept, revoked = await auth.key(account), await auth.key(account)
    before = (await auth.authenticate(kept.secret)).as_of_sequence
    await auth.revoking(revoked.key.key_id)
    assert (await auth.authenticate(kept.secret)).as_of_sequence == before + 1


async def test_each_method_refuses_the_callers_that_it_is_not_for(auth: Auth) -> None:
    denied = (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")
    for method in ("CreateAccount", "GetAccount", "ListAccounts", "UpdateAccount", "SuspendAccount", "ResumeAccount"):
        assert await refused(getattr(auth.edge, method)(getattr(auth_pb2, f"{method}Request")())) == denied
    for method in ("CreateKey", "ListKeys", "RevokeKey"):
        assert await refused(getattr(auth.edge, method)(getattr(auth_pb2, f"{method}Request")())) == denied
    assert await refused(auth.operator.Authenticate(auth_pb2.AuthenticateRequest())) == denied
    stranger = connect(auth.address, token="a token that nobody gave out")
    call = Caller(stranger).ListKeys(auth_pb2.ListKeysRequest())
    assert await refused(call) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
    await stranger.close()
