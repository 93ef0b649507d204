"""The Auth service of auth.proto: unpack, one call into the domain, pack. Errors become statuses in servicekit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc

from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from servicekit.clock import Clock
from services.auth import messages, metrics
from services.auth.domain.accounts import Accounts
from services.auth.domain.key_stream import Outgoing
from services.auth.domain.keys import Keys
from services.auth.running.key_subscription import KeySubscriptions

Context: TypeAlias = grpc.aio.ServicerContext


class AuthServicer(auth_pb2_grpc.AuthServicer):
    """Who is calling, and may they?"""

    def __init__(self, accounts: Accounts, keys: Keys, subscriptions: KeySubscriptions, clock: Clock) -> None:
        self._accounts = accounts
        self._keys = keys
        self._subscriptions = subscriptions
        self._clock = clock

    async def Authenticate(
        self, request: auth_pb2.AuthenticateRequest, context: Context
    ) -> auth_pb2.AuthenticateResponse:
        found = await self._keys.authenticate(request.key_digest)
        return auth_pb2.AuthenticateResponse(
            principal=messages.from_principal(found.principal), as_of_sequence=found.as_of_sequence
        )

    async def WatchKeys(self, requests: AsyncIterator[auth_pb2.WatchKeysRequest], context: Context) -> None:
        async def send(message: Outgoing) -> None:
            await context.write(
                messages.from_outgoing(message, self._subscriptions.policy, self._subscriptions.cache_mark)
            )

        with metrics.EDGES.track_inprogress():
            await self._subscriptions.serve(messages.to_incoming(requests), send)

    async def CreateAccount(
        self, request: auth_pb2.CreateAccountRequest, context: Context
    ) -> auth_pb2.CreateAccountResponse:
        account = await self._accounts.create(request.email, messages.to_optional(request, "requests_per_minute"))
        return auth_pb2.CreateAccountResponse(account=messages.from_account(account))

    async def GetAccount(self, request: auth_pb2.GetAccountRequest, context: Context) -> auth_pb2.GetAccountResponse:
        if request.WhichOneof("by") == "account_id":
            account = await self._accounts.by_id(request.account_id)
        else:
            account = await self._accounts.by_email(request.email)
        return auth_pb2.GetAccountResponse(account=messages.from_account(account))

    async def ListAccounts(
        self, request: auth_pb2.ListAccountsRequest, context: Context
    ) -> auth_pb2.ListAccountsResponse:
        page = await self._accounts.page(request.page_size, request.page_token)
        return auth_pb2.ListAccountsResponse(
            accounts=[messages.from_account(account) for account in page.items], next_page_token=page.next_token
        )

    async def CountAccounts(
        self, request: auth_pb2.CountAccountsRequest, context: Context
    ) -> auth_pb2.CountAccountsResponse:
        return auth_pb2.CountAccountsResponse(accounts=await self._accounts.count())

    async def UpdateAccount(
        self, request: auth_pb2.UpdateAccountRequest, context: Context
    ) -> auth_pb2.UpdateAccountResponse:
        limit = messages.to_optional(request, "requests_per_minute")
        account = await self._accounts.set_limits(request.account_id, limit)
        return auth_pb2.UpdateAccountResponse(account=messages.from_account(account))

    async def SuspendAccount(
        self, request: auth_pb2.SuspendAccountRequest, context: Context
    ) -> auth_pb2.SuspendAccountResponse:
        account, timed_out = await self._accounts.suspend(request.account_id)
        return auth_pb2.SuspendAccountResponse(account=messages.from_account(account), sessions_timed_out=timed_out)

    async def ResumeAccount(
        self, request: auth_pb2.ResumeAccountRequest, context: Context
    ) -> auth_pb2.ResumeAccountResponse:
        account = await self._accounts.resume(request.account_id)
        return auth_pb2.ResumeAccountResponse(account=messages.from_account(account))

    async def CreateKey(self, request: auth_pb2.CreateKeyRequest, context: Context) -> auth_pb2.CreateKeyResponse:
        new = await self._keys.create(request.account_id, messages.to_terms(request))
        return auth_pb2.CreateKeyResponse(key=messages.from_key(new.key, self._clock.now_us()), secret=new.secret)

    async def ListKeys(self, request: auth_pb2.ListKeysRequest, context: Context) -> auth_pb2.ListKeysResponse:
        page = await self._keys.page(request.account_id, request.page_size, request.page_token)
        now_us = self._clock.now_us()
        return auth_pb2.ListKeysResponse(
            keys=[messages.from_key(key, now_us) for key in page.items], next_page_token=page.next_token
        )

    async def RevokeKey(self, request: auth_pb2.RevokeKeyRequest, context: Context) -> auth_pb2.RevokeKeyResponse:
        key, timed_out = await self._keys.revoke(request.key_id)
        return auth_pb2.RevokeKeyResponse(
            key=messages.from_key(key, self._clock.now_us()), sessions_timed_out=timed_out
        )
