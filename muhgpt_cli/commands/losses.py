"""`muhgpt losses`: what the rules in favour of clients cost the operator, by account and UTC day."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli import output
from muhgpt_cli.errors import CliError
from muhgpt_cli.operator_client import Operator, run
from muhgpt_cli.options import DataDir, Json, Limit, examples
from muhgpt_cli.system import System, find
from servicekit.clock import Clock, SystemClock, to_datetime

KINDS = ("uncollected", "answer_refunds", "retry_refunds", "abandoned")
COLUMNS = ("day", "email", "total", *KINDS, "estimate_minus_usage", "forgiven")
HEADINGS = ["day", "account", "total", *(kind.replace("_", " ") for kind in COLUMNS[3:])]

EPILOG = examples(
    "muhgpt losses",
    "muhgpt losses --account ada@example.com --days 7 --json",
    "muhgpt losses --forgive ada@example.com",
)


def losses(
    account: Annotated[
        str, typer.Option("--account", metavar="EMAIL", help="One account only.", show_default=False)
    ] = "",
    days: Annotated[int, typer.Option("--days", metavar="N", min=1, max=366, help="UTC days, today included.")] = 30,
    limit: Limit = 100,
    forgive: Annotated[
        str,
        typer.Option(
            "--forgive",
            metavar="EMAIL",
            help="Admit this account again that is refused for today's losses; they count from here.",
            show_default=False,
        ),
    ] = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Lists what answers cost you beyond what was charged, in credits: newest day first, then the largest loss."""
    if forgive:
        _print_forgiven(run(_forgive(find(data_dir), forgive)), as_json)
        return
    document = run(_list(find(data_dir), account, days, limit, SystemClock()))
    if as_json:
        output.print_json(document)
        return
    rows = [[each[column] for column in COLUMNS] for each in document["losses"]]
    output.print_table(HEADINGS, rows, empty=f"No losses in the last {days} days.")
    if document["more"]:
        output.stdout.print(f"There are more; show them with --limit (now {limit}).")


async def _list(system: System, email: str, days: int, limit: int, clock: Clock) -> dict[str, Any]:
    today = to_datetime(clock.now_us()).date()
    async with Operator(system) as operator:
        account_id = (await operator.account(email)).account_id if email else ""
        request = quota_pb2.ListLossesRequest(
            account_id=account_id,
            start_day=(today - timedelta(days=days - 1)).isoformat(),
            end_day=today.isoformat(),
            page_size=limit,
        )
        answer = await operator.quota.call_idempotent("ListLosses", request)
        emails = await _emails(operator, {each.account_id for each in answer.days})
    return {"losses": [_fields(each, emails) for each in answer.days], "more": bool(answer.next_page_token)}


async def _emails(operator: Operator, account_ids: set[str]) -> dict[str, str]:
    """The books can be read while auth is away: then accounts are shown by their ids."""
    if not account_ids:
        return {}
    try:
        return {each.account_id: each.email async for each in operator.accounts() if each.account_id in account_ids}
    except CliError:
        return {}


def _fields(loss: quota_pb2.LossDay, emails: dict[str, str]) -> dict[str, Any]:
    kinds = {kind: getattr(loss, kind) for kind in KINDS}
    return {
        "day": loss.day,
        "account_id": loss.account_id,
        "email": emails.get(loss.account_id, loss.account_id),
        "total": sum(kinds.values()),
        **kinds,
        "estimate_minus_usage": loss.estimate_minus_usage,
        "forgiven": loss.forgiven,
    }


async def _forgive(system: System, email: str) -> dict[str, Any]:
    async with Operator(system) as operator:
        account_id = (await operator.account(email)).account_id
        request = quota_pb2.ForgiveLossesRequest(account_id=account_id)
        answer = await operator.quota.call_idempotent("ForgiveLosses", request)
    return {"account_id": account_id, "email": email, "forgiven": answer.forgiven}


def _print_forgiven(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(document)
        return
    output.stdout.print(f"{document['forgiven']:,} credits of today's losses of {document['email']} no longer count.")
