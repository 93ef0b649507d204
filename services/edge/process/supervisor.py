"""Several workers on one port: starts them, restarts those that die, stops them together.

Workers are spawned, not forked: gRPC's threads do not survive a fork. They share the listening socket that the
supervisor made. Each holds one end of a pipe: there it says when it serves, and the pipe's end tells it that the
supervisor died.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from servicekit.clock import Clock, SystemClock
from servicekit.errors import StartupError
from servicekit.observability.logging import configure, get_logger
from servicekit.process.backoff import Backoff
from servicekit.process.run import START_FAILED, run
from services.edge.settings import EdgeSettings

log = get_logger(__name__)

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
FIRST_PAUSE, MAX_PAUSE = 0.1, 5.0  # seconds before a dead worker is replaced; doubles with each quick death
GOOD_LIFE = 30.0  # seconds after which a death is no longer a quick one
KILL_GRACE = 10.0  # seconds past the drain time-out


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    born: float
    serving: bool = False


class Supervisor:
    """Runs `settings.workers` workers until SIGTERM or SIGINT."""

    def __init__(
        self, settings: EdgeSettings, listener: socket.socket, clock: Clock, on_serving: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._clock = clock
        self._on_serving = on_serving
        self._workers: list[_Worker] = []
        self._due: list[float] = []  # when dead workers are replaced, on the monotonic clock
        self._backoff = Backoff(FIRST_PAUSE, MAX_PAUSE, GOOD_LIFE)
        self._announced = False
        self._stopping: float | None = None  # since when

    def run(self) -> int:
        """Returns the process's exit code."""
        with _signals() as signals:
            self._due = [0.0] * self._settings.workers
            while self._workers or self._stopping is None:
                self._start_due()
                self._wait(signals)
                if code := self._bury():
                    self._stop()
                    self._join_all()
                    return code
                self._kill_late()
        return 0

    def _start_due(self) -> None:
        now = self._clock.monotonic()
        due = [at for at in self._due if at <= now]
        self._due = [at for at in self._due if at > now]
        for _ in due if self._stopping is None else ():
            ours, theirs = Pipe()
            process = multiprocessing.get_context("spawn").Process(
                target=run_worker, args=(self._settings, self._listener, theirs), name="muhgpt-edge-worker"
            )
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours, now))

    def _wait(self, signals: socket.socket) -> None:
        """Until something happens: a signal, a worker that serves, a death, or a replacement that is due."""
        quiet = [worker.pipe for worker in self._workers if not worker.serving]
        deaths = [worker.process.sentinel for worker in self._workers]
        now = self._clock.monotonic()
        timeout = min([1.0, *(max(0.0, at - now) for at in self._due)])
        ready = wait([signals, *quiet, *deaths], timeout)
        if signals in ready and signals.recv(64):
            self._stop()
        for worker in self._workers:
            if worker.pipe in ready:
                worker.serving = _said_serving(worker.pipe)
        if not self._announced and sum(worker.serving for worker in self._workers) == self._settings.workers:
            self._announced = True
            self._on_serving()

    def _bury(self) -> int:
        """Takes out the dead and plans for their replacement; an exit code when that makes no sense."""
        now = self._clock.monotonic()
        for worker in [worker for worker in self._workers if not worker.process.is_alive()]:
            self._workers.remove(worker)
            worker.process.join()
            worker.pipe.close()
            _forget_metrics(worker.process.pid)
            if self._stopping is not None:
                continue
            code = worker.process.exitcode
            if code == START_FAILED and not self._announced:  # it has said why
                return START_FAILED
            pause = self._backoff.pause(now - worker.born)
            self._due.append(now + pause)
            log.error("worker_died", pid=worker.process.pid, exit_code=code, restart_in=pause)
        return 0

    def _stop(self) -> None:
        """Asks all workers to drain; asked again, to stop at once."""
        self._stopping = self._stopping or self._clock.monotonic()
        self._due = []
        # While anybody has the socket open, connections are still made and nobody takes them: they are better refused.
        self._listener.close()
        for worker in self._workers:
            worker.process.terminate()

    def _kill_late(self) -> None:
        if self._stopping is None:
            return
        if self._clock.monotonic() - self._stopping > self._settings.drain_timeout + KILL_GRACE:
            for worker in self._workers:
                log.error("worker_killed", pid=worker.process.pid)
                worker.process.kill()

    def _join_all(self) -> None:
        for worker in self._workers:
            worker.process.join(KILL_GRACE)
            worker.process.kill()


def run_worker(settings: EdgeSettings, listener: socket.socket, pipe: Connection) -> None:
    """A worker process's whole life."""
    configure("edge", format=settings.log_format, level=settings.log_level)
    from servicekit.observability import metrics_files

    metrics_files.install()
    from services.edge.process.worker import serve  # only here: what it imports must not start in the supervisor

    async def serving() -> None:
        pipe.send_bytes(b"serving")

    run(lambda: serve(settings, listener, on_started=serving, parent=pipe.fileno()))


@contextmanager
def metrics_directory(chosen: Path | None) -> Iterator[Path]:
    """An empty directory for the workers' metrics, named in the environment that they inherit, removed at the end.

    Must be entered before prometheus_client is first imported. Raises StartupError when it cannot be made.
    """
    try:
        directory = chosen or Path(tempfile.mkdtemp(prefix="muhgpt-edge-metrics-"))
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob("*.db"):
            old.unlink()
    except OSError as error:
        raise StartupError(f"the edge cannot use {chosen} for its metrics: {error.strerror}") from None
    os.environ[MULTIPROCESS] = str(directory)
    try:
        yield directory
    finally:
        if chosen is None:
            shutil.rmtree(directory, ignore_errors=True)


def serve_merged_metrics(listen: str | None, *, or_any_port: bool) -> None:
    """All workers' metrics on METRICS_LISTEN, from the supervisor. Raises StartupError when the port is taken."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    from servicekit.observability.metrics_page import MetricsPage, serve_page

    if listen is not None:
        merged = CollectorRegistry()
        MultiProcessCollector(merged)
        serve_page(listen, MetricsPage(merged, SystemClock()), or_any_port=or_any_port)


def _forget_metrics(pid: int | None) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    with suppress(OSError):
        mark_process_dead(pid)


def _said_serving(pipe: Connection) -> bool:
    try:
        return pipe.recv_bytes() == b"serving"
    except (EOFError, OSError):  # it died first; its sentinel says so too
        return False


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that becomes readable with each SIGTERM or SIGINT."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    fd = signal.set_wakeup_fd(theirs.fileno())
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()
