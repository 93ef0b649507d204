"""The first account and its key, also when the first start was cut short."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from muhgpt.auth.v1 import auth_pb2
from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli.commands.accounts import grant_first
from muhgpt_cli.local.data_dir import DataDir
from muhgpt_cli.local.first_start import CREDITS, EMAIL, first_key
from muhgpt_cli.local.service import ServiceProcess, python
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.system import System


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """auth and quota, without any account."""
    data_dir = DataDir(tmp_path)
    data_dir.prepare()
    services = []
    for name in ("auth", "quota"):
        settings = {
            f"MUHGPT_{name.upper()}_DATABASE_URL": data_dir.database(name),
            f"MUHGPT_{name.upper()}_EDGE_TOKEN_FILE": str(data_dir.edge_token),
            f"MUHGPT_{name.upper()}_OPERATOR_TOKEN_FILE": str(data_dir.operator_token),
        }
        services.append(ServiceProcess(name, python("-m", f"services.{name}.main"), settings, data_dir, 60))
    try:
        for service in services:
            await service.start()
        addresses = {service.name: str(service.address) for service in services}
        yield System(str(tmp_path), addresses, known_token=data_dir.operator_token.read_text().strip())
    finally:
        for service in services:
            await service.stop(10)


async def balance(system: System) -> int:
    async with Operator(system) as operator:
        account = await operator.account(EMAIL)
        answer = await operator.quota.call("GetBalance", quota_pb2.GetBalanceRequest(account_id=account.account_id))
        return int(answer.balance)


async def test_the_first_start_makes_an_account_with_credits_and_a_key_and_the_second_makes_nothing(
    system: System,
) -> None:
    key = await first_key(system)
    assert key is not None
    assert key.secret.startswith("mghp_")
    assert await first_key(system) is None
    assert await balance(system) == CREDITS


@pytest.mark.parametrize("granted", [False, True])
async def test_a_first_start_that_was_killed_before_its_key_is_finished_by_the_next(
    system: System, granted: bool
) -> None:
    async with Operator(system) as operator:
        made = await operator.auth.call("CreateAccount", auth_pb2.CreateAccountRequest(email=EMAIL))
        if granted:
            await grant_first(operator, made.account, CREDITS)
    assert await first_key(system) is not None
    assert await balance(system) == CREDITS


async def test_a_system_with_accounts_of_its_own_gets_no_first_key(system: System) -> None:
    async with Operator(system) as operator:
        await operator.auth.call("CreateAccount", auth_pb2.CreateAccountRequest(email="ada@example.com"))
    assert await first_key(system) is None
