"""One parser process as the edge sees it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from servicekit.process.child import START_TIMEOUT, module_command, part_of_environment
from services.edge.http.limits import RequestLimits
from services.edge.http.parsing.frames import ANSWER, JOB, Outcome

# The only variables that are passed on: where Python finds its modules and libraries. None holds a secret.
PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process found. `cpu` in seconds; see frames.py for the document."""

    outcome: Outcome
    cpu: float
    document: bytes
    message: bytearray


class ParserProcess:
    """Started by the first job and again after it ended. After any failure it is killed: it might answer late."""

    def __init__(self, memory: int, limits: RequestLimits, formats: Sequence[str]) -> None:
        numbers = (memory, limits.parts, limits.nesting, limits.validation_errors)
        self._arguments = [*map(str, numbers), *formats]
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Starts it unless it runs. Raises OSError, EOFError and TimeoutError."""
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        with theirs:
            # Not forked and then run on: gRPC's threads would not be there.
            self._process = subprocess.Popen(  # noqa: ASYNC220  (returns once the program has begun, in a millisecond)
                module_command("services.edge.http.parsing.worker", theirs.fileno(), *self._arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=part_of_environment(PASSED_ON),
                pass_fds=[theirs.fileno()],
            )
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._answer(ours)
        except BaseException:
            self.kill()
            raise

    async def ask(self, body: bytes | bytearray, form: int) -> Answer:
        """What it finds in a body of the format at this place.

        Raises OSError and EOFError when it died, TimeoutError of the caller's time-out.
        """
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._socket, JOB.pack(form, len(body)))
            await loop.sock_sendall(self._socket, body)
            return await self._answer(self._socket)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends it. Safe to call again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None

    async def _answer(self, ours: socket.socket) -> Answer:
        outcome, cpu, document, message = ANSWER.unpack(await _receive(ours, ANSWER.size))
        return Answer(Outcome(outcome), cpu, bytes(await _receive(ours, document)), await _receive(ours, message))


async def _receive(ours: socket.socket, size: int) -> bytearray:
    """So many bytes, without a copy. Raises EOFError when fewer come."""
    loop = asyncio.get_running_loop()
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = await loop.sock_recv_into(ours, view)
        if not count:
            raise EOFError
        view = view[count:]
    return data
