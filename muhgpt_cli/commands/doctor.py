"""`muhgpt doctor`: are all services up, and do the books balance?"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import grpc
import httpx
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli import output
from muhgpt_cli.edge_client import http_client
from muhgpt_cli.errors import CliError
from muhgpt_cli.operator_client import Operator, run
from muhgpt_cli.options import DataDir, Json, examples
from muhgpt_cli.system import System, find
from servicekit.rpc.client import connect

GRPC_SERVICES = ("auth", "quota", "inference")
HEALTH_TIMEOUT = 3.0  # seconds
BOOKS_TIMEOUT, FULL_TIMEOUT = 600.0, 7200.0  # seconds

EPILOG = examples("muhgpt doctor", "muhgpt doctor --json && echo all is well")


Full = Annotated[bool, typer.Option("--full", help="Recount every line of the books, however many there are.")]


def doctor(data_dir: DataDir = None, as_json: Json = False, full: Full = False) -> None:
    """Asks every service for its health and recounts the books. Exits with 1 when anything is wrong."""
    report = run(examine(find(data_dir), full=full))
    if as_json:
        output.print_json(report)
    else:
        _print(report)
    if not report["ok"]:
        raise typer.Exit(1)


async def examine(system: System, *, full: bool = False) -> dict[str, Any]:
    """The report: ok, services, accounts, books. Raises nothing: what cannot be reached is part of it."""
    healths = await asyncio.gather(*(_health(system, name) for name in GRPC_SERVICES), _edge(system))
    services = dict(zip((*GRPC_SERVICES, "edge"), healths, strict=True))
    accounts, books = await asyncio.gather(_accounts(system), _books(system, full))
    ok = books["ok"] and accounts is not None and all(service["ok"] for service in services.values())
    return {"ok": ok, "services": services, "accounts": accounts, "books": books}


async def _health(system: System, name: str) -> dict[str, Any]:
    try:
        address = system.address(name)
    except CliError as error:
        return {"ok": False, "address": None, "status": str(error)}
    peer = connect(address, service=name, tls=system.tls)
    try:
        stub = health_pb2_grpc.HealthStub(peer.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT, wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        silent = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        return {"ok": False, "address": address, "status": "does not answer" if silent else error.code().name}
    finally:
        await peer.close()
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return {"ok": status == "SERVING", "address": address, "status": status.lower()}


async def _edge(system: System) -> dict[str, Any]:
    try:
        address = system.base_url.removesuffix("/v1")
    except CliError as error:
        return {"ok": False, "address": None, "status": str(error)}
    try:
        async with http_client(address, timeout=HEALTH_TIMEOUT) as client:
            answer = await client.get(f"{address}/readyz")
    except httpx.HTTPError:
        return {"ok": False, "address": address, "status": "does not answer"}
    if answer.status_code != httpx.codes.OK:
        return {"ok": False, "address": address, "status": f"not ready (HTTP {answer.status_code})"}
    degraded = b"degraded" in answer.content
    status = "cannot reach auth, quota or inference" if degraded else "serving"
    return {"ok": not degraded, "address": address, "status": status}


async def _accounts(system: System) -> int | None:
    """How many accounts there are; the books know only those that were ever given credits. None: no answer."""
    try:
        async with Operator(system) as operator:
            return await operator.count_accounts()
    except CliError:
        return None


async def _books(system: System, full: bool) -> dict[str, Any]:
    try:
        async with Operator(system) as operator:
            request = quota_pb2.CheckBooksRequest(full=full)
            books = await operator.quota.call("CheckBooks", request, timeout=FULL_TIMEOUT if full else BOOKS_TIMEOUT)
    except CliError as error:
        return {"ok": False, "error": str(error)}
    oldest = books.oldest_hold.ToTimedelta().total_seconds() if books.HasField("oldest_hold") else None
    return {
        "ok": books.balanced,
        **{name: getattr(books, name) for name in ("accounts", "granted", "purchased", "answer_refunds")},
        **{name: getattr(books, name) for name in ("refunded", "charged")},
        **{name: getattr(books, name) for name in ("balance", "held", "open_holds")},
        "oldest_hold_seconds": oldest,
        "differences": [
            {"account_id": d.account_id, "check": d.check, "expected": d.expected, "found": d.found}
            for d in books.differences
        ],
    }


def _print(report: dict[str, Any]) -> None:
    rows = [
        [name, "ok" if service["ok"] else "WRONG", service["address"], service["status"]]
        for name, service in report["services"].items()
    ]
    output.print_table(["service", "", "address", "status"], rows, empty="")
    books = report["books"]
    if "error" in books:
        output.stdout.print(f"The books could not be checked: {books['error']}", soft_wrap=True)
    else:
        _print_books(books, report["accounts"])
    output.stdout.print("All is well." if report["ok"] else "Something is wrong.")


def _print_books(books: dict[str, Any], accounts: int | None) -> None:
    came = books["granted"] + books["purchased"] + books["answer_refunds"] - books["refunded"]
    went = books["balance"] + books["charged"]
    output.print_facts(
        {
            "accounts": accounts,
            "with books": books["accounts"],
            "granted + purchased + answer refunds - refunded": came,
            "balances + charged": went,
            "held": f"{books['held']:,} in {books['open_holds']:,} open holds",
            "books": "balance" if books["ok"] else "DO NOT BALANCE",
        }
    )
    if books["differences"]:
        rows = [[d["account_id"], d["check"], d["expected"], d["found"]] for d in books["differences"]]
        output.print_table(["account", "check", "expected", "found"], rows, empty="")
