"""The operator's calls to a cluster: accounts, keys, credits, and what the books say."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.rpc.client import connect
from servicekit.rpc.status import RpcFailure
from servicekit.tls.directory import TlsDirectory

CALL = 20.0  # seconds
AWAY = 20.0  # seconds that a restarted service may take to be found again
AT_ONCE = 8  # accounts made side by side
UNLIMITED = 1_000_000  # requests a minute

Result = TypeVar("Result")


@dataclass(frozen=True)
class Account:
    """An account with one key and what was granted to it."""

    account_id: str
    key_id: str
    key: str
    credits: int


class Office:
    """Must be made and used in one event loop."""

    def __init__(self, auth: str, quota: str, token: str, tls: TlsDirectory | None = None) -> None:
        """With `tls` the operator's certificate, and no token."""
        shown = None if tls else token
        self._peers = [
            connect(auth, token=shown, service="auth", tls=tls),
            connect(quota, token=shown, service="quota", tls=tls),
        ]

    @property
    def _auth(self) -> auth_pb2_grpc.AuthStub:
        return auth_pb2_grpc.AuthStub(self._peers[0].channel)  # the channel changes with our certificate

    @property
    def _quota(self) -> quota_pb2_grpc.QuotaStub:
        return quota_pb2_grpc.QuotaStub(self._peers[1].channel)

    async def account(self, credits: int, *, per_minute: int | None = UNLIMITED) -> Account:
        """A new account with a key and credits. per_minute None: the platform's default."""

        def create() -> Awaitable[auth_pb2.CreateAccountResponse]:  # with a new name each time: it may be repeated
            email = f"user-{secrets.token_hex(8)}@example.com"
            request = auth_pb2.CreateAccountRequest(email=email, requests_per_minute=per_minute)
            return self._peers[0].call(self._auth.CreateAccount, request, timeout=CALL)

        made = await self._patiently(create)
        account_id = made.account.account_id
        key = await self.key(account_id)
        grant = quota_pb2.GrantRequest(grant_id=secrets.token_hex(16), account_id=account_id, credits=credits)
        await self._patiently(lambda: self._peers[1].call(self._quota.Grant, grant, timeout=CALL))
        return Account(account_id, key.key.key_id, key.secret, credits)

    async def accounts(self, number: int, credits: int) -> list[Account]:
        """So many new accounts."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one() -> Account:
            async with gate:
                return await self.account(credits)

        return list(await asyncio.gather(*(one() for _ in range(number))))

    async def key(self, account_id: str) -> auth_pb2.CreateKeyResponse:
        """One more key."""
        request = auth_pb2.CreateKeyRequest(account_id=account_id)
        return await self._patiently(lambda: self._peers[0].call(self._auth.CreateKey, request, timeout=CALL))

    async def revoke(self, account: Account) -> tuple[float, int]:
        """Revokes the account's key; gives the seconds it took and the edge sessions that did not acknowledge."""
        began = time.monotonic()
        request = auth_pb2.RevokeKeyRequest(key_id=account.key_id)
        answer = await self._peers[0].call(self._auth.RevokeKey, request, timeout=CALL)
        return time.monotonic() - began, answer.sessions_timed_out

    async def outwait(self) -> None:
        """Returns when auth has given up the edge sessions that earlier faults broke: it rightly waits for each of
        them, up to its time to live, before a revocation returns."""
        await self.revoke(await self.account(0))

    async def money(self, account: Account) -> tuple[int, int]:
        """Balance and held, in credits."""
        request = quota_pb2.GetBalanceRequest(account_id=account.account_id)
        answer = await self._patiently(lambda: self._peers[1].call(self._quota.GetBalance, request, timeout=CALL))
        return answer.balance, answer.held

    async def until_held(self, account: Account, *, held: bool) -> None:
        """Polls until credits of the account are held, or none are any more."""
        async with asyncio.timeout(CALL):
            while bool((await self.money(account))[1]) != held:  # noqa: ASYNC110  the service tells nobody
                await asyncio.sleep(0.01)

    async def charges(self, account: Account) -> list[quota_pb2.Charge]:
        """All receipts, oldest first."""
        return await self._pages(account, quota_pb2.ListChargesRequest, self._quota.ListCharges, "charges")

    async def ledger(self, account: Account) -> list[quota_pb2.LedgerEntry]:
        """All entries, oldest first."""
        return await self._pages(account, quota_pb2.ListLedgerRequest, self._quota.ListLedger, "entries")

    async def books(self) -> quota_pb2.CheckBooksResponse:
        """What `muhgpt doctor` asks: the books, recounted."""
        request = quota_pb2.CheckBooksRequest()
        answer: quota_pb2.CheckBooksResponse = await self._patiently(
            lambda: self._peers[1].call(self._quota.CheckBooks, request, timeout=CALL)
        )
        return answer

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()

    async def _pages(self, account: Account, kind: Any, method: Any, field: str) -> list[Any]:
        found: list[Any] = []
        request = kind(account_id=account.account_id, page_size=1000)
        while True:
            page = await self._patiently(lambda: self._peers[1].call(method, request, timeout=CALL))
            found += getattr(page, field)
            if not page.next_page_token:
                return found[::-1]
            request.page_token = page.next_page_token

    async def _patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """A call that may be repeated: a service that was just killed is asked again until it is back."""
        deadline = time.monotonic() + AWAY
        while True:
            try:
                return await call()
            except RpcFailure as failure:
                if failure.code is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.05)
