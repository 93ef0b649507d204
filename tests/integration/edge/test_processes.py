"""The edge as processes: start, several workers on one port, a worker's death, the supervisor's, SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

ENOUGH = 30.0  # seconds for a process to start on a busy machine


@dataclass
class EdgeProcess:
    """A started edge."""

    process: asyncio.subprocess.Process
    address: str
    log: Path

    def workers(self) -> list[int]:
        """The worker processes' ids."""
        return [child.pid for child in psutil.Process(self.process.pid).children() if _is_worker(child)]

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://{self.address}", timeout=10) as client:
            return await client.get(path, headers=headers)

    async def metrics(self) -> httpx.Response:
        """The metrics' page, from its own port."""
        [served] = [line for line in self.log.read_text().splitlines() if '"event":"metrics_serving"' in line]
        async with httpx.AsyncClient(timeout=10) as client:
            return await client.get(f"http://{json.loads(served)['address']}/metrics")


async def until(holds: Callable[[], bool], seconds: float = ENOUGH) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  (what is waited for happens in another process)
            await asyncio.sleep(0.02)


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    token = tmp_path / "edge.token"
    token.write_text("0123456789abcdef0123456789abcdef")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUHGPT_")}
    ours = {
        "LISTEN": "127.0.0.1:0",
        "ADDRESS_FILE": str(tmp_path / "edge.address"),
        "AUTH_ADDRESS": "127.0.0.1:1",
        "QUOTA_ADDRESS": "127.0.0.1:1",
        "INFERENCE_ADDRESS": "127.0.0.1:1",
        "EDGE_TOKEN_FILE": str(token),
        "DRAIN_TIMEOUT": "2",
        "METRICS_LISTEN": "127.0.0.1:0",
        **settings,
    }
    return {**kept, **{f"MUHGPT_EDGE_{name}": value for name, value in ours.items()}}


@asynccontextmanager
async def started(
    tmp_path: Path, *arguments: str, files: int | None = None, **settings: str
) -> AsyncIterator[EdgeProcess]:
    """An edge; `files` is its limit of open files."""
    address, log = tmp_path / "edge.address", tmp_path / "edge.log"
    with log.open("wb") as output:
        command = (sys.executable, "-m", "services.edge.main", *arguments)
        if files:
            command = ("/bin/sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command)
        process = await asyncio.create_subprocess_exec(*command, env=environment(tmp_path, **settings), stderr=output)
    try:
        await until(lambda: address.exists() or process.returncode is not None)
        assert process.returncode is None, log.read_text()
        yield EdgeProcess(process, address.read_text(), log)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), ENOUGH)


StartProcess = Callable[..., Awaitable[EdgeProcess]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartProcess]:
    async with AsyncExitStack() as stack:

        async def enter(*arguments: str, files: int | None = None, **settings: str) -> EdgeProcess:
            return await stack.enter_async_context(started(tmp_path, *arguments, files=files, **settings))

        yield enter


async def failed_start(tmp_path: Path, *arguments: str, **settings: str) -> str:
    """What is said on stderr by an edge that cannot start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.edge.main", *arguments),
        env=environment(tmp_path, **settings),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), ENOUGH)
    assert process.returncode == 2, said
    assert b"Traceback" not in said
    return said.decode()


async def test_without_its_services_the_edge_is_alive_but_not_ready(start: StartProcess) -> None:
    edge = await start()
    assert (await edge.get("/healthz")).status_code == 200
    assert (await edge.get("/readyz")).status_code == 503
    assert (await edge.get("/v1/models")).status_code == 401
    key = "mghp_" + "a" * 36
    assert (await edge.get("/v1/models", authorization=f"Bearer {key}")).status_code in (401, 503)


async def test_sigterm_ends_the_edge_cleanly(start: StartProcess) -> None:
    edge = await start()
    edge.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(edge.process.wait(), ENOUGH) == 0
    assert '"event":"stopped"' in edge.log.read_text()


async def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for workers in ("1", "2"):
            said = await failed_start(tmp_path, "--workers", workers, LISTEN=address)
            assert f"error: the edge cannot listen on {address}" in said
            assert "MUHGPT_EDGE_LISTEN" in said


async def test_wrong_settings_are_named(tmp_path: Path) -> None:
    said = await failed_start(tmp_path, MAX_BODY_BYTE="5", HEARTBEAT="soon")
    assert "unknown setting MUHGPT_EDGE_MAX_BODY_BYTE; did you mean MUHGPT_EDGE_MAX_BODY_BYTES?" in said
    assert "MUHGPT_EDGE_HEARTBEAT" in said


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_what_only_a_worker_finds_wrong_ends_the_edge_too(tmp_path: Path, workers: str) -> None:
    said = await failed_start(tmp_path, "--workers", workers, EDGE_TOKEN_FILE=str(tmp_path / "none"))
    assert "cannot read the secret" in said
    said = await failed_start(tmp_path, "--workers", workers, QUOTA_ADDRESS="nowhere")
    assert "MUHGPT_EDGE_QUOTA_ADDRESS: must be host:port" in said


async def test_several_workers_share_the_port_and_their_metrics(start: StartProcess) -> None:
    edge = await start("--workers", "2")
    assert len(edge.workers()) == 2
    for _ in range(20):
        assert (await edge.get("/healthz")).status_code == 200
    page = (await edge.metrics()).text
    [count] = re.findall(r'muhgpt_edge_requests_total\{route="/healthz",status="200"\} (\d+)', page)
    assert int(count) == 20


async def test_a_dead_worker_is_replaced_and_its_counts_stay(start: StartProcess) -> None:
    edge = await start("--workers", "2")
    for _ in range(10):
        await edge.get("/healthz")
    before = set(edge.workers())
    os.kill(min(before), signal.SIGKILL)
    await until(lambda: len(edge.workers()) == 2 and set(edge.workers()) != before)
    assert (await edge.get("/healthz")).status_code == 200
    page = (await edge.metrics()).text
    assert re.search(r'muhgpt_edge_requests_total\{route="/healthz",status="200"\} 11', page)
    assert '"event":"worker_died"' in edge.log.read_text()


async def test_sigterm_ends_all_workers(start: StartProcess) -> None:
    edge = await start("--workers", "2")
    workers = edge.workers()
    edge.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(edge.process.wait(), ENOUGH) == 0
    assert not any(psutil.pid_exists(pid) for pid in workers)


async def test_workers_do_not_outlive_their_supervisor(start: StartProcess) -> None:
    edge = await start("--workers", "2")
    workers = edge.workers()
    edge.process.kill()
    await edge.process.wait()
    await until(lambda: not any(_runs(pid) for pid in workers))


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_with_few_open_files_idle_connections_keep_nobody_out_and_the_log_says_so(
    start: StartProcess, workers: str
) -> None:
    edge = await start("--workers", workers, files=256)
    host, _, port = edge.address.rpartition(":")
    idle: list[socket.socket] = []

    def reached() -> bool:
        """On a busy machine early connections are over before the last are accepted: so more come until it is full."""
        if len(idle) < 3000:
            idle.extend(_connecting(host, int(port)) for _ in range(100))
        return '"event":"connection_limit_reached"' in edge.log.read_text()

    try:
        idle += [_connecting(host, int(port)) for _ in range(500)]
        for _ in range(20):
            assert (await edge.get("/healthz")).status_code == 200
        assert '"event":"connections_capped"' in edge.log.read_text()
        await until(reached)
        assert '"event":"uncaught' not in edge.log.read_text()
    finally:
        for client in idle:
            client.close()
    assert (await edge.get("/healthz")).status_code == 200


def _connecting(host: str, port: int) -> socket.socket:
    """A connection that is being made."""
    client = socket.socket()
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        client.connect((host, port))
    return client


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):  # it died while we looked
        return False


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("log_bytes", [0, 9000], ids=["metrics", "metrics and logs"])
async def test_workers_whose_disk_has_no_room_for_metrics_and_logs_serve_all_the_same(
    tmp_path: Path, log_bytes: int
) -> None:
    """Files may grow to 8 KiB, as on a disk that is full: the metrics' files are larger."""
    (tmp_path / "edge.log").write_bytes(b"\n" * log_bytes)
    limited = (
        "sh",
        "-c",
        'ulimit -f 16; exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "services.edge.main",
        "--workers",
        "2",
    )
    (tmp_path / "metrics").mkdir()
    settings = environment(tmp_path, METRICS_DIR=str(tmp_path / "metrics"))
    with (tmp_path / "edge.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(*limited, env=settings, stdout=output, stderr=output)
    try:
        await until(lambda: (tmp_path / "edge.address").exists() or process.returncode is not None)
        edge = EdgeProcess(process, (tmp_path / "edge.address").read_text(), tmp_path / "edge.log")
        workers = edge.workers()
        for _ in range(100):
            assert (await edge.get("/v1/models")).status_code in (401, 429)
        assert edge.workers() == workers
        assert ("metrics_not_kept" in edge.log.read_text()) == (log_bytes == 0)
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), ENOUGH) == 0


async def test_an_edge_whose_disk_is_full_at_start_says_where_it_is_once_there_is_room(tmp_path: Path) -> None:
    """Of its own processes, of all files: none may grow, as on a disk that is full."""
    limited = ("sh", "-c", 'ulimit -S -f 0; exec "$@"', "sh", sys.executable, "-m", "services.edge.main")
    process = await asyncio.create_subprocess_exec(*limited, env=environment(tmp_path), stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(ENOUGH):
            while b"address_not_written" not in await process.stderr.readline():
                assert process.returncode is None
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await until(lambda: (tmp_path / "edge.address").exists())
        host, _, port = (tmp_path / "edge.address").read_text().rpartition(":")
        (await asyncio.open_connection(host, int(port)))[1].close()
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), ENOUGH)
    assert process.returncode == 0
