"""`muhgpt charges`: receipts, for when somebody asks what a request cost and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from muhgpt.auth.v1 import auth_pb2
from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli import output
from muhgpt_cli.errors import CallFailed
from muhgpt_cli.operator_client import Operator, run
from muhgpt_cli.options import AccountEmail, DataDir, Json, Limit, examples
from muhgpt_cli.system import System, find

app = typer.Typer(no_args_is_help=True, help="Receipts: list an account's, show one.")

STATES = {
    quota_pb2.Charge.STATE_HELD: "held",
    quota_pb2.Charge.STATE_SETTLED: "settled",
    quota_pb2.Charge.STATE_RELEASED: "released",
    quota_pb2.Charge.STATE_EXPIRED: "expired",
}
After = Annotated[
    str, typer.Option("--after", metavar="ID", help="The last charge of the page before.", show_default=False)
]


def _parse_id(text: str) -> bytes:
    try:
        parsed = bytes.fromhex(text)
    except ValueError:
        parsed = b""
    if len(parsed) != 16:
        raise typer.BadParameter(f"{text!r} is no id of a charge; it has 32 hexadecimal digits")
    return parsed


@app.command(
    "list",
    epilog=examples(
        "muhgpt charges list --account ada@example.com",
        "muhgpt charges list --account ada@example.com --limit 1000 --after 01a19c… --json",
    ),
)
def list_charges(
    account: AccountEmail, limit: Limit = 20, after: After = "", data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Lists an account's receipts, open holds included, newest first."""
    document = run(_list(find(data_dir), account, limit, after))
    if as_json:
        output.print_json(document)
        return
    rows = [
        [
            each["id"],
            each["created_at"],
            each["state"],
            each["model"],
            each["prompt_tokens"],
            each["output_tokens"],
            each["credits"],
            _note(each),
        ]
        for each in document["charges"]
    ]
    output.print_table(
        ["charge", "admitted", "state", "model", "prompt", "output", "credits", "note"], rows, empty="None."
    )
    if document["next"]:
        output.stdout.print(f"There are more: --after {document['next']}")


def _note(charge: dict[str, Any]) -> str:
    notes = {
        "estimated": charge["estimated"],
        "unconfirmed": charge["unconfirmed"],
        f"{charge['refunded_credits']:,} refunded": charge["refunded_credits"],
    }
    return ", ".join(note for note, said in notes.items() if said)


async def _list(system: System, email: str, limit: int, after: str) -> dict[str, Any]:
    async with Operator(system) as operator:
        account_id = (await operator.account(email)).account_id
        request = quota_pb2.ListChargesRequest(account_id=account_id, page_size=limit, page_token=after)
        answer = await operator.quota.call_idempotent("ListCharges", request)
    return {
        "account_id": account_id,
        "email": email,
        "charges": [_fields(each) for each in answer.charges],
        "next": answer.next_page_token or None,
    }


@app.command(epilog=examples("muhgpt charges show 01a19c41d2a7c0ffee00c0ffee00c0ff"))
def show(
    charge_id: Annotated[
        bytes,
        typer.Argument(metavar="ID", parser=_parse_id, help="As receipts and the edge's log (charge_id) tell it."),
    ],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Shows all that is known of one charge: whose it is, what it held, and why it cost what it did."""
    document = run(_show(find(data_dir), charge_id))
    if as_json:
        output.print_json(document)
        return
    price = (
        f"{document['input_price']:,} and {document['output_price']:,} credits for a million input and output tokens"
    )
    output.print_facts({**{name.replace("_", " "): value for name, value in document.items()}, "price": price})


async def _show(system: System, charge_id: bytes) -> dict[str, Any]:
    async with Operator(system) as operator:
        request = quota_pb2.GetChargeRequest(hold_id=charge_id)
        found = await operator.quota.call_idempotent("GetCharge", request)
        email = await _email(operator, found.account_id)
    return {
        "id": charge_id.hex(),
        "account_id": found.account_id or None,
        "email": email,
        **_fields(found.charge),
        "held": found.held,
        "choices": found.choices,
        "requested_tokens": found.requested_tokens,
        "max_tokens": found.max_tokens,
        "covered_tokens": found.covered_tokens,
        "delivered_tokens": found.delivered_tokens,
        "edge": found.edge_name or None,
        **_reported(found.charge),
    }


async def _email(operator: Operator, account_id: str) -> str | None:
    """The books outlive what auth knows, after a restore for example."""
    if not account_id:
        return None
    try:
        answer = await operator.auth.call_idempotent("GetAccount", auth_pb2.GetAccountRequest(account_id=account_id))
    except CallFailed as failed:
        if failed.reason != "ACCOUNT_UNKNOWN":
            raise
        return None
    return str(answer.account.email)


def _fields(charge: quota_pb2.Charge) -> dict[str, Any]:
    return {
        "id": charge.hold_id.hex(),
        "state": STATES[charge.state],
        "created_at": output.instant(charge.reserved_at),
        "ended_at": output.instant(charge.ended_at) if charge.HasField("ended_at") else None,
        "key_id": charge.key_id or None,
        "model": charge.model or None,
        "prompt_tokens": charge.prompt_tokens,
        "output_tokens": charge.output_tokens,
        "input_price": charge.input_price,
        "output_price": charge.output_price,
        "credits": charge.credits,
        "uncollected_credits": charge.uncollected_credits,
        "refunded_credits": charge.refunded_credits,
        "unconfirmed": charge.unconfirmed,
        "estimated": charge.estimated,
    }


def _reported(charge: quota_pb2.Charge) -> dict[str, Any]:
    """What the edge reported beside the counts; None where it did not."""
    texts = ("endpoint", "member_id", "request_id", "end_reason")
    numbers = ("first_token_ms", "cached_tokens", "produced")
    units = ("input_units", "output_units")
    return {
        **{name: getattr(charge, name) or None for name in texts},
        **{name: getattr(charge, name) if charge.HasField(name) else None for name in numbers},
        **{name: _units(getattr(charge, name)) if charge.HasField(name) else None for name in units},
    }


def _units(units: quota_pb2.Units) -> str:
    return f"{units.quantity} {units.kind}"
