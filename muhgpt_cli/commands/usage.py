"""`muhgpt usage`: what an account has and what it spent."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated, Any

import typer

from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli import output
from muhgpt_cli.operator_client import Operator, run
from muhgpt_cli.options import AccountEmail, DataDir, Json, examples
from muhgpt_cli.system import System, find
from servicekit.clock import Clock, SystemClock, to_datetime


def usage(
    account: AccountEmail,
    days: Annotated[int, typer.Option("--days", metavar="N", min=1, max=366, help="UTC days, today included.")] = 30,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Shows an account's balance and its consumption by day and by model."""
    document = run(_usage(find(data_dir), account, days, SystemClock()))
    if as_json:
        output.print_json(document)
        return
    totals = document["totals"]
    output.print_facts(
        {
            "account": f"{document['email']} ({document['account_id']})",
            "balance": document["balance"],
            "held": document["held"],
            f"last {days} days": f"{totals['credits']:,} credits, {totals['tokens']:,} tokens, "
            f"{totals['requests']:,} requests",
        }
    )
    if document["daily"]:
        rows = [[day["day"], day["credits"], day["requests"]] for day in document["daily"]]
        output.print_table(["day", "credits", "requests"], rows, empty="")
        models = [[model["model"], model["credits"]] for model in document["by_model"]]
        output.print_table(["model", "credits"], models, empty="")


async def _usage(system: System, email: str, days: int, clock: Clock) -> dict[str, Any]:
    today = to_datetime(clock.now_us()).date()
    async with Operator(system) as operator:
        account = await operator.account(email)
        spent_request = quota_pb2.GetUsageRequest(
            account_id=account.account_id,
            start_day=(today - timedelta(days=days - 1)).isoformat(),
            end_day=today.isoformat(),
        )
        spent, money = await asyncio.gather(
            operator.quota.call_idempotent("GetUsage", spent_request),
            operator.quota.call_idempotent("GetBalance", quota_pb2.GetBalanceRequest(account_id=account.account_id)),
        )
    return {
        "account_id": account.account_id,
        "email": account.email,
        "balance": money.balance,
        "held": money.held,
        "totals": {
            "credits": spent.totals.credits,
            "tokens": spent.totals.tokens,
            "requests": spent.totals.requests,
        },
        "daily": [{"day": day.day, "credits": day.credits, "requests": day.requests} for day in spent.days],
        "by_model": [{"model": model.model, "credits": model.credits} for model in spent.models],
    }


EPILOG = examples("muhgpt usage --account ada@example.com", "muhgpt usage --account ada@example.com --days 7 --json")
