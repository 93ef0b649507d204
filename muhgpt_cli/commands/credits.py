"""`muhgpt credits`: grants and refunds. Each has an id, so that a repeat moves no money twice."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated, Any

import typer

from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli import output
from muhgpt_cli.errors import CallFailed, CliError
from muhgpt_cli.operator_client import Operator, run
from muhgpt_cli.options import MOST_CREDITS, AccountEmail, DataDir, Json, Limit, examples
from muhgpt_cli.system import System, find

app = typer.Typer(no_args_is_help=True, help="Credits: grant, take back, look at the ledger.")

KINDS = {
    quota_pb2.LedgerEntry.KIND_GRANT: "grant",
    quota_pb2.LedgerEntry.KIND_PURCHASE: "purchase",
    quota_pb2.LedgerEntry.KIND_CHARGE: "charge",
    quota_pb2.LedgerEntry.KIND_REFUND: "refund",
    quota_pb2.LedgerEntry.KIND_ANSWER_REFUND: "answer_refund",
}


def _long(least: int, most: int) -> Callable[[str | None], str | None]:
    """A check of an option's length. An empty name is refused: `--id "$UNSET"` must not mean a random one."""

    def check(value: str | None) -> str | None:
        if value is not None and not least <= len(value) <= most:
            raise typer.BadParameter(f"it must have {least} to {most} characters, not {len(value)}")
        return value

    return check


Amount = Annotated[int, typer.Argument(metavar="N", min=1, max=MOST_CREDITS, help="Whole credits.")]
Reason = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", callback=_long(0, 200), help="For the ledger, at most 200 characters."),
]
MoveId = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="ID",
        callback=_long(1, 64),
        help="Name of this movement, at most 64 characters; a repeat with it changes nothing. Default: random.",
        show_default=False,
    ),
]


@app.command(
    epilog=examples(
        "muhgpt credits grant --account ada@example.com 1000000",
        "muhgpt credits grant --account ada@example.com 50000 --reason 'invoice 2026-118' --id invoice-2026-118",
    )
)
def grant(
    account: AccountEmail,
    credits: Amount,
    reason: Reason = "",
    move_id: MoveId = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Adds credits to an account."""
    name = move_id or _new_id("grant")

    def request(account_id: str) -> quota_pb2.GrantRequest:
        return quota_pb2.GrantRequest(grant_id=name, account_id=account_id, credits=credits, reason=reason)

    document = run(_move(find(data_dir), account, "Grant", request, name))
    _print({**document, "credits": credits}, "Granted", "to", as_json)


@app.command(epilog=examples("muhgpt credits refund --account ada@example.com 20000 --reason 'order 1007'"))
def refund(
    account: AccountEmail,
    credits: Amount,
    reason: Reason = "",
    move_id: MoveId = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Takes credits back from an account; never more than its balance less open holds."""
    name = move_id or _new_id("refund")

    def request(account_id: str) -> quota_pb2.RefundRequest:
        return quota_pb2.RefundRequest(refund_id=name, account_id=account_id, credits=credits, reason=reason)

    document = run(_move(find(data_dir), account, "Refund", request, name))
    _print({**document, "credits": credits}, "Took", "from", as_json)


@app.command(
    epilog=examples(
        "muhgpt credits ledger --account ada@example.com",
        "muhgpt credits ledger --account ada@example.com --limit 1000 --before 48213 --json",
    )
)
def ledger(
    account: AccountEmail,
    limit: Limit = 20,
    before: Annotated[
        str, typer.Option("--before", metavar="ENTRY", help="The last entry of the page before.", show_default=False)
    ] = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Lists every change of an account's balance, newest first."""
    document = run(_ledger(find(data_dir), account, limit, before))
    if as_json:
        output.print_json(document)
        return
    rows = [[str(each["entry"]), *list(each.values())[1:]] for each in document["entries"]]
    output.print_table(["entry", "at", "kind", "credits", "reference", "reason"], rows, empty="Nothing yet.")
    if document["next"]:
        output.stdout.print(f"There are more: --before {document['next']}")


async def _ledger(system: System, email: str, limit: int, before: str) -> dict[str, Any]:
    async with Operator(system) as operator:
        account_id = (await operator.account(email)).account_id
        request = quota_pb2.ListLedgerRequest(account_id=account_id, page_size=limit, page_token=before)
        answer = await operator.quota.call_idempotent("ListLedger", request)
    entries = [
        {
            "entry": each.entry_id,
            "created_at": output.instant(each.created_at),
            "kind": KINDS.get(each.kind, f"kind {each.kind}"),
            "credits": each.credits,
            "reference": each.reference,
            "reason": each.reason,
        }
        for each in answer.entries
    ]
    return {"account_id": account_id, "email": email, "entries": entries, "next": answer.next_page_token or None}


async def _move(system: System, email: str, method: str, request: Any, move_id: str) -> dict[str, Any]:
    async with Operator(system) as operator:
        account_id = (await operator.account(email)).account_id
        try:
            answer = await operator.quota.call_idempotent(method, request(account_id))
        except CallFailed as failed:
            if not failed.outcome_unknown:
                raise
            raise CliError(f"{failed}. Whether it was done is not known; repeat it with --id {move_id}") from None
    document = {"id": move_id, "account_id": account_id, "email": email}
    return {**document, "balance": answer.balance, "repeated": answer.repeated}


def _print(document: dict[str, Any], did: str, preposition: str, as_json: bool) -> None:
    if as_json:
        output.print_json(document)
        return
    what = f"{did} {document['credits']:,} credits {preposition} {document['email']}"
    if document["repeated"]:
        text = f"{what} before, under the id {document['id']}; the balance was {document['balance']:,} then. "
        output.stdout.print(f"{text}Nothing was changed now.", soft_wrap=True)
    else:
        output.stdout.print(f"{what}; its balance is {document['balance']:,}.", soft_wrap=True)


def _new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(16)}"
