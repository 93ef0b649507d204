"""What the command line asks of auth, and what it does where auth is of the version before."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from muhgpt.auth.v1 import auth_pb2
from muhgpt_cli.commands import keys
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.system import System
from tests.worlds.in_process.auth import Auth


async def test_accounts_are_counted_with_one_call(auth: Auth, system: System) -> None:
    for name in ("ada", "bob", "eve"):
        await auth.account(f"{name}@example.com")
    async with Operator(system) as operator:
        assert await operator.count_accounts() == 3


async def test_an_auth_that_cannot_count_is_asked_for_the_list() -> None:
    """The version before has no CountAccounts."""

    async def list_accounts(request: auth_pb2.ListAccountsRequest, context: Any) -> auth_pb2.ListAccountsResponse:
        account = auth_pb2.Account(account_id="acct_1")
        return auth_pb2.ListAccountsResponse(accounts=[account] * 2, next_page_token="" if request.page_token else "2")

    handler = grpc.unary_unary_rpc_method_handler(
        list_accounts,
        request_deserializer=auth_pb2.ListAccountsRequest.FromString,
        response_serializer=auth_pb2.ListAccountsResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("muhgpt.auth.v1.Auth", {"ListAccounts": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        system = System("the test", {"auth": f"127.0.0.1:{port}"}, known_token="a-token")
        async with Operator(system) as operator:
            assert await operator.count_accounts() == 4
    finally:
        await server.stop(None)


@pytest.mark.parametrize(("arguments", "shown", "more"), [({"limit": 2}, 2, True), ({"limit": 3}, 3, False)])
async def test_keys_are_listed_up_to_a_limit(
    auth: Auth,
    system: System,
    arguments: dict[str, int],
    shown: int,
    more: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    account = await auth.account()
    for _ in range(3):
        await auth.key(account)
    monkeypatch.setenv("MUHGPT_CLI_AUTH_ADDRESS", auth.address)
    monkeypatch.setenv("MUHGPT_CLI_OPERATOR_TOKEN", system.operator_token)
    capfd.readouterr()  # auth's log
    await asyncio.to_thread(keys.list_keys, as_json=True, **arguments)
    answer = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (len(answer["keys"]), answer["more"]) == (shown, more)
