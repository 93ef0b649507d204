"""The platform as its operator sees it: the operator's calls of auth, quota and inference over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from muhgpt.auth.v1 import auth_pb2
from muhgpt.auth.v1.auth_pb2_grpc import AuthStub
from muhgpt.inference.v1.inference_pb2_grpc import InferenceStub
from muhgpt.quota.v1.quota_pb2_grpc import QuotaStub
from muhgpt_cli.errors import CallFailed, explain
from muhgpt_cli.system import System
from servicekit.rpc.client import Peer, connect
from servicekit.rpc.status import RpcFailure

CALL_TIMEOUT = 10.0  # seconds
ATTEMPTS = 3
PAGE = 1000

Result = TypeVar("Result")


class Remote:
    """One service. `call` names a method of its stub."""

    def __init__(self, name: str, system: System, stub: Any) -> None:
        self._name = name
        self._address = system.address(name)
        self.peer: Peer = connect(self._address, token=system.operator_token, service=name, tls=system.tls)
        self._stub = stub(self.peer.channel)

    async def call(self, method: str, request: Any, *, timeout: float = CALL_TIMEOUT) -> Any:
        """One call with a deadline in seconds. Raises CallFailed."""
        try:
            return await self.peer.call(getattr(self._stub, method), request, timeout=timeout)
        except RpcFailure as failure:
            raise explain(failure, self._name, self._address) from None

    async def call_idempotent(self, method: str, request: Any, *, timeout: float = CALL_TIMEOUT) -> Any:
        """As call, repeated when the outcome is unknown; only for calls that may be repeated. Raises CallFailed."""
        for attempt in range(1, ATTEMPTS):
            try:
                return await self.call(method, request, timeout=timeout)
            except CallFailed as failed:
                if not failed.outcome_unknown:
                    raise
                await asyncio.sleep(0.2 * attempt)
        return await self.call(method, request, timeout=timeout)


class Operator:
    """Use as `async with Operator(system) as operator`. Services are connected to when first used."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._remotes: dict[str, Remote] = {}

    async def __aenter__(self) -> Operator:
        return self

    async def __aexit__(self, *_: object) -> None:
        for remote in self._remotes.values():
            await remote.peer.close()

    @property
    def auth(self) -> Remote:
        return self._remote("auth", AuthStub)

    @property
    def quota(self) -> Remote:
        return self._remote("quota", QuotaStub)

    @property
    def inference(self) -> Remote:
        return self._remote("inference", InferenceStub)

    async def account(self, email: str) -> auth_pb2.Account:
        """The account of an email address. Raises CallFailed when there is none."""
        answer = await self.auth.call_idempotent("GetAccount", auth_pb2.GetAccountRequest(email=email))
        return answer.account

    async def count_accounts(self) -> int:
        """How many accounts there are. Raises CallFailed."""
        try:
            answer = await self.auth.call_idempotent("CountAccounts", auth_pb2.CountAccountsRequest())
        except CallFailed as failed:
            if not failed.unimplemented:
                raise
            return sum([1 async for _ in self.accounts()])
        return answer.accounts

    async def accounts(self) -> AsyncIterator[auth_pb2.Account]:
        """All accounts, oldest first. Raises CallFailed."""
        token = ""
        while True:
            request = auth_pb2.ListAccountsRequest(page_size=PAGE, page_token=token)
            page = await self.auth.call_idempotent("ListAccounts", request)
            for account in page.accounts:
                yield account
            token = page.next_page_token
            if not token:
                return

    async def keys(self, account_id: str = "") -> AsyncIterator[auth_pb2.Key]:
        """The keys of an account, or of all, newest first. Raises CallFailed."""
        token = ""
        while True:
            request = auth_pb2.ListKeysRequest(account_id=account_id, page_size=PAGE, page_token=token)
            page = await self.auth.call_idempotent("ListKeys", request)
            for key in page.keys:
                yield key
            token = page.next_page_token
            if not token:
                return

    def _remote(self, name: str, stub: Any) -> Remote:
        if name not in self._remotes:
            self._remotes[name] = Remote(name, self._system, stub)
        return self._remotes[name]


def run(command: Coroutine[Any, Any, Result]) -> Result:
    """Runs a command's coroutine from the synchronous world of the command line."""
    return asyncio.run(command)
