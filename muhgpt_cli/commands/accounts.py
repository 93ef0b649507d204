"""`muhgpt accounts`: who may use the platform, and how much in a minute."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from muhgpt.auth.v1 import auth_pb2
from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli import output
from muhgpt_cli.errors import CallFailed, CliError
from muhgpt_cli.operator_client import Operator, run
from muhgpt_cli.options import MOST_CREDITS, DataDir, Json, examples
from muhgpt_cli.system import System, find

app = typer.Typer(no_args_is_help=True, help="Accounts: make, list, limit, suspend.")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The account's email address.")]
PerMinute = Annotated[
    int | None,
    typer.Option(
        "--requests-per-minute",
        metavar="N",
        min=1,
        max=1_000_000,
        help="Requests admitted in any 60 seconds. Default: the platform's (60).",
        show_default=False,
    ),
]
STATES = {auth_pb2.Account.STATE_ACTIVE: "active", auth_pb2.Account.STATE_SUSPENDED: "suspended"}


@app.command(
    epilog=examples(
        "muhgpt accounts create ada@example.com --credits 1000000",
        "muhgpt accounts create team@example.com --requests-per-minute 600 --json",
    )
)
def create(
    email: Email,
    credits: Annotated[
        int, typer.Option("--credits", metavar="N", min=0, max=MOST_CREDITS, help="Credits to begin with.")
    ] = 0,
    requests_per_minute: PerMinute = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Makes an account. Then give it a key: `muhgpt keys create --account EMAIL`."""
    account = run(create_account(find(data_dir), email, credits, requests_per_minute))
    if as_json:
        output.print_json({**account_document(account), "credits": credits})
        return
    output.stdout.print(f"Account {account.account_id} made for {account.email} with {credits:,} credits.")
    output.stdout.print(f"Give it a key: muhgpt keys create --account {account.email}", soft_wrap=True)


@app.command("list", epilog=examples("muhgpt accounts list", "muhgpt accounts list --limit 1000 --json"))
def list_accounts(
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Accounts to show at most.")] = 100,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Lists accounts, oldest first, with their balances."""
    documents, more = run(_list(find(data_dir), limit))
    if as_json:
        output.print_json({"accounts": documents, "more": more})
        return
    columns = ["account_id", "email", "state", "balance", "held", "requests_per_minute", "created_at"]
    rows = [[document[column] for column in columns] for document in documents]
    headings = ["account", "email", "state", "balance", "held", "per minute", "created"]
    output.print_table(headings, rows, empty="No accounts. Make one: muhgpt accounts create EMAIL")
    if more:
        output.stdout.print(f"There are more; show them with --limit (now {limit}).")


@app.command("set", epilog=examples("muhgpt accounts set ada@example.com --requests-per-minute 600"))
def set_limits(
    email: Email, requests_per_minute: PerMinute = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Changes an account's limits. Without --requests-per-minute the platform's default applies again."""

    async def change() -> auth_pb2.Account:
        async with Operator(find(data_dir)) as operator:
            account = await operator.account(email)
            request = auth_pb2.UpdateAccountRequest(
                account_id=account.account_id, requests_per_minute=requests_per_minute
            )
            return (await operator.auth.call_idempotent("UpdateAccount", request)).account

    account = run(change())
    limit = "the platform's default" if requests_per_minute is None else f"{requests_per_minute:,}"
    _print_account(account, f"{account.email} may send {limit} requests in any 60 seconds.", as_json)


@app.command(epilog=examples("muhgpt accounts suspend ada@example.com"))
def suspend(email: Email, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Stops all keys of an account. When this returns, none of them is served any more."""
    account = run(_switch(find(data_dir), email, "SuspendAccount", auth_pb2.SuspendAccountRequest))
    _print_account(account, f"{account.email} is suspended; none of its keys is served.", as_json)


@app.command(epilog=examples("muhgpt accounts resume ada@example.com"))
def resume(email: Email, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Lets the keys of a suspended account work again."""
    account = run(_switch(find(data_dir), email, "ResumeAccount", auth_pb2.ResumeAccountRequest))
    _print_account(account, f"{account.email} is active; its keys work again.", as_json)


async def create_account(
    system: System, email: str, credits: int, requests_per_minute: int | None = None
) -> auth_pb2.Account:
    """Makes an account and grants its first credits. Raises CliError that says what was done and what is left to do."""
    async with Operator(system) as operator:
        request = auth_pb2.CreateAccountRequest(email=email, requests_per_minute=requests_per_minute)
        account = (await operator.auth.call("CreateAccount", request)).account
        if credits == 0:
            return account
        try:
            await grant_first(operator, account, credits)
        except CallFailed as failed:
            raise CliError(
                f"account {account.account_id} was made, but its {credits} credits may not be granted ({failed}). "
                f"Grant them, at most once: muhgpt credits grant --account {email} {credits} "
                f"--id {first_grant_id(account)}"
            ) from None
        return account


async def grant_first(operator: Operator, account: auth_pb2.Account, credits: int) -> None:
    """Grants an account's first credits; a repeat grants nothing more. Raises CallFailed."""
    grant = quota_pb2.GrantRequest(
        grant_id=first_grant_id(account), account_id=account.account_id, credits=credits, reason="first credits"
    )
    await operator.quota.call_idempotent("Grant", grant)


def first_grant_id(account: auth_pb2.Account) -> str:
    """The grant's idempotency key: derived from the account, so that no retry can grant twice."""
    return f"first-{account.account_id}"[:64]


def account_document(account: auth_pb2.Account) -> dict[str, Any]:
    """An account as --json shows it."""
    return {
        "account_id": account.account_id,
        "email": account.email,
        "state": STATES.get(account.state, "unknown"),
        "requests_per_minute": account.requests_per_minute if account.HasField("requests_per_minute") else None,
        "created_at": output.instant(account.created_at),
    }


async def _list(system: System, limit: int) -> tuple[list[dict[str, Any]], bool]:
    async with Operator(system) as operator:
        accounts: list[auth_pb2.Account] = []
        async for account in operator.accounts():
            if len(accounts) == limit:
                return await _with_balances(operator, accounts), True
            accounts.append(account)
        return await _with_balances(operator, accounts), False


async def _with_balances(operator: Operator, accounts: list[auth_pb2.Account]) -> list[dict[str, Any]]:
    at_once = asyncio.Semaphore(32)

    async def document(account: auth_pb2.Account) -> dict[str, Any]:
        async with at_once:
            request = quota_pb2.GetBalanceRequest(account_id=account.account_id)
            money = await operator.quota.call_idempotent("GetBalance", request)
        return {**account_document(account), "balance": money.balance, "held": money.held}

    return await asyncio.gather(*map(document, accounts))


async def _switch(system: System, email: str, method: str, request: Any) -> auth_pb2.Account:
    async with Operator(system) as operator:
        account = await operator.account(email)
        answer = await operator.auth.call_idempotent(method, request(account_id=account.account_id), timeout=30.0)
        return answer.account


def _print_account(account: auth_pb2.Account, sentence: str, as_json: bool) -> None:
    if as_json:
        output.print_json(account_document(account))
    else:
        output.stdout.print(sentence, soft_wrap=True)
