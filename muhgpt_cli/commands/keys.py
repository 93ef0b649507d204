"""`muhgpt keys`: API keys, shown once when they are made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from muhgpt.auth.v1 import auth_pb2
from muhgpt.inference.v1 import inference_pb2
from muhgpt_cli import output
from muhgpt_cli.errors import CallFailed, CliError
from muhgpt_cli.operator_client import Operator, run
from muhgpt_cli.options import MOST_CREDITS, AccountEmail, DataDir, Json, examples, typed
from muhgpt_cli.system import System, find

app = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke.")

DEFAULT_LIMIT = 100  # of all accounts' keys
Cell = TypeVar("Cell")
STATES = {
    auth_pb2.Key.STATE_ACTIVE: "active",
    auth_pb2.Key.STATE_REVOKED: "revoked",
    auth_pb2.Key.STATE_EXPIRED: "expired",
}


def parse_expiry(text: str) -> datetime:
    """YYYY-MM-DD (the beginning of that day in UTC) or an ISO 8601 instant with its zone. Raises BadParameter."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date; write 2027-01-31 or 2027-01-31T12:00:00Z") from None
    if instant.tzinfo is not None:
        return instant.astimezone(UTC)
    if len(text) > len("2027-01-31"):
        raise typer.BadParameter(f"{text!r} has no time zone; end it with Z for UTC, or with an offset like +02:00")
    return instant.replace(tzinfo=UTC)


@app.command(
    epilog=examples(
        "muhgpt keys create --account ada@example.com",
        "muhgpt keys create --account ada@example.com --name laptop --monthly-limit 500000",
        "muhgpt keys create --account ada@example.com --model muh-chat --model gpt-4o --expires 2027-01-31 --json",
    )
)
def create(
    account: AccountEmail,
    name: Annotated[str, typer.Option("--name", help="For people, at most 100 characters.")] = "",
    monthly_limit: Annotated[
        int | None,
        typer.Option(
            "--monthly-limit",
            metavar="N",
            min=1,
            max=MOST_CREDITS,
            help="Credits that the key may spend in a UTC calendar month. Default: no ceiling.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL", help="A model that the key may call; repeat it. Default: all."),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires",
            metavar="DATE",
            parser=parse_expiry,
            help="The key stops working then: YYYY-MM-DD (0:00 UTC) or an ISO instant. Default: never.",
            show_default=False,
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(
            "--requests-per-minute",
            metavar="N",
            min=1,
            max=1_000_000,
            help="Requests of this key in any 60 seconds. Default: only the account's limit applies.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Makes a key and shows it, this one time. An account has at most ten active keys."""
    request = auth_pb2.CreateKeyRequest(
        name=typed(name),
        monthly_credit_limit=monthly_limit,
        allowed_models=model or [],
        requests_per_minute=requests_per_minute,
    )
    if expires is not None:
        request.expires_at.FromDatetime(expires)

    def show(answer: auth_pb2.CreateKeyResponse) -> None:
        if as_json:
            output.print_json({"key_id": answer.key.key_id, "key": answer.secret, **key_document(answer.key)})
        else:
            output.print_facts({"key": answer.secret, "key id": answer.key.key_id, "account": account})
            output.stderr.print("Keep it now: it is never shown again.")

    for wanted in run(_create(find(data_dir), account, request, show)):
        output.stderr.print(
            f"warning: no model is called {output.printable(wanted)} at the moment; `muhgpt models` lists them",
            soft_wrap=True,
        )


@app.command(
    "list", epilog=examples("muhgpt keys list --account ada@example.com", "muhgpt keys list --limit 1000 --json")
)
def list_keys(
    account: Annotated[
        str | None,
        typer.Option("--account", metavar="EMAIL", help="Only this account's. Default: all.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help=f"Keys to show at most. Default: {DEFAULT_LIMIT}; all with --account.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Lists keys, newest first, revoked ones included. The keys themselves are stored nowhere."""
    if limit is None and account is None:
        limit = DEFAULT_LIMIT
    documents, more = run(_list(find(data_dir), account, limit))
    if as_json:
        output.print_json({"keys": documents, "more": more})
        return
    headings = ["key id", "account", "state", "name", "key", "monthly limit", "models", "expires"]
    rows = [_row(key) for key in documents]
    if account:
        headings, rows = _without(1, headings), [_without(1, row) for row in rows]
    output.print_table(headings, rows, empty="No keys. Make one: muhgpt keys create --account EMAIL")
    if more:
        output.stdout.print(f"There are more; show them with --limit (now {limit}).")


@app.command(epilog=examples("muhgpt keys revoke key_7Hs0…"))
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `muhgpt keys list` shows it.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Revokes a key for ever. When this returns, it is not served any more and its running streams have ended."""

    async def call() -> auth_pb2.RevokeKeyResponse:
        async with Operator(find(data_dir)) as operator:
            request = auth_pb2.RevokeKeyRequest(key_id=key_id)
            return await operator.auth.call_idempotent("RevokeKey", request, timeout=30.0)

    answer = run(call())
    if as_json:
        output.print_json({**key_document(answer.key), "sessions_timed_out": answer.sessions_timed_out})
        return
    output.stdout.print(f"Key {answer.key.key_id} is revoked.")
    if answer.sessions_timed_out:
        output.stdout.print(
            f"{answer.sessions_timed_out} edge workers did not answer; their trust has run out instead."
        )


def key_document(key: auth_pb2.Key) -> dict[str, Any]:
    """A key as --json shows it, without its secret."""
    return {
        "key_id": key.key_id,
        "account_id": key.account_id,
        "state": STATES.get(key.state, "unknown"),
        "name": key.name,
        "prefix": key.prefix,
        "last_four": key.last_four,
        "monthly_limit": key.monthly_credit_limit if key.HasField("monthly_credit_limit") else None,
        "models": list(key.allowed_models),
        "requests_per_minute": key.requests_per_minute if key.HasField("requests_per_minute") else None,
        "created_at": output.instant(key.created_at),
        "expires_at": output.instant(key.expires_at),
        "revoked_at": output.instant(key.revoked_at),
    }


def _row(key: dict[str, Any]) -> list[object]:
    begin, models = f"{key['prefix']}…{key['last_four']}", ", ".join(key["models"])
    first = [key["key_id"], key["account_id"], key["state"], key["name"], begin]
    return [*first, key["monthly_limit"], models, key["expires_at"]]


def _without(column: int, row: list[Cell]) -> list[Cell]:
    return row[:column] + row[column + 1 :]


async def _create(
    system: System,
    email: str,
    request: auth_pb2.CreateKeyRequest,
    show: Callable[[auth_pb2.CreateKeyResponse], None],
) -> list[str]:
    """Makes a key, has it shown before anything else can fail, and returns which of its models nobody knows.

    Raises CliError; a key that could not be shown is revoked then.
    """
    async with Operator(system) as operator:
        request.account_id = (await operator.account(email)).account_id
        try:
            answer = await operator.auth.call("CreateKey", request)
        except CallFailed as failed:
            if failed.outcome_unknown:
                raise CliError(
                    f"{failed}; perhaps a key was made that nobody saw: "
                    f"look with `muhgpt keys list --account {email}`, and revoke it"
                ) from None
            raise
        try:
            show(answer)
        except output.OutputLost as lost:
            raise CliError(f"{lost}; {await take_back(operator, answer.key.key_id)}") from None
        return await _unknown(operator, list(request.allowed_models))


async def take_back(operator: Operator, key_id: str) -> str:
    """Revokes a new key that nobody saw; returns what to tell about it."""
    try:
        request = auth_pb2.RevokeKeyRequest(key_id=key_id)
        await operator.auth.call_idempotent("RevokeKey", request, timeout=30.0)
    except CliError as error:
        return f"nobody saw the new key, and it could not be revoked ({error}): run `muhgpt keys revoke {key_id}`"
    return f"nobody saw the new key, so it was revoked ({key_id}): make another one where it can be shown"


async def _unknown(operator: Operator, wanted: list[str]) -> list[str]:
    """Names that are no model's now; none where inference does not tell, since the key is made all the same."""
    if not wanted:
        return []
    try:
        answer = await operator.inference.call("ListModels", inference_pb2.ListModelsRequest())
    except CliError:
        return []
    known = {name for model in answer.models for name in (model.alias, model.model)}
    return [name for name in wanted if name not in known]


async def _list(system: System, email: str | None, limit: int | None) -> tuple[list[dict[str, Any]], bool]:
    """Keys as documents, at most `limit`, and whether there are more."""
    async with Operator(system) as operator:
        account_id = (await operator.account(email)).account_id if email else ""
        documents: list[dict[str, Any]] = []
        async for key in operator.keys(account_id):
            if len(documents) == limit:
                return documents, True
            documents.append(key_document(key))
        return documents, False
