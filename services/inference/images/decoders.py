"""A few processes that decode images, each replaced when a file has caught or killed it."""

from __future__ import annotations

import asyncio

from servicekit.clock import Clock, SystemClock
from servicekit.errors import StartupError
from servicekit.observability.logging import get_logger
from servicekit.process.child import Child
from services.inference.domain import spent
from services.inference.domain.chat import Picture
from services.inference.domain.errors import EngineUnavailable, InvalidImage
from services.inference.domain.fair_queue import Admission

log = get_logger(__name__)

WORKER = "services.inference.images.worker"
MAX_WAITING = 4096  # images that may wait for a process; requests with images are bounded before (domain/images.py)
ENVIRONMENT = ("PYTHONPATH", "LD_LIBRARY_PATH")  # all that Python needs to start; no setting, key or token
TRIES = 2  # one that died may have died before, of something else; a file that kills two is to blame


class DecoderPool:
    """Implements domain.images.Decoder. `timeout` in seconds for one image; `pixels`: the most that one may have;
    `memory_mib`: what one process may take. Accounts take turns, and one is left a process by each other one."""

    def __init__(
        self,
        processes: int = 2,
        *,
        timeout: float = 10.0,
        pixels: int = 40_000_000,
        memory_mib: int = 384,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._timeout = timeout
        self._pixels = pixels
        self._all = [Child(WORKER, memory_mib * 1024 * 1024, environment=ENVIRONMENT) for _ in range(processes)]
        self._idle = self._all.copy()
        self._turns = Admission(processes, MAX_WAITING, most_of_one=max(1, processes - 1))

    async def start(self) -> None:
        """Starts all. Raises StartupError when that cannot be."""
        try:
            await asyncio.gather(*(_start(process) for process in self._all))
        except (OSError, EOFError, TimeoutError):
            await self.close()
            raise StartupError(
                "the process that decodes images does not start; install the extra `inference` (Pillow) again"
            ) from None

    async def decode(self, file: bytes, side: int, param: str, account: str = "") -> Picture:
        """See domain/images.py. Raises EngineUnavailable while no process can be started."""
        async with self._turns.slot(account, 1):
            process = self._idle.pop()
            began = self._clock.monotonic()
            try:
                return await self._decode(process, file, side, param)
            finally:
                spent.add(self._clock.monotonic() - began)
                self._idle.append(process)

    async def _decode(self, process: Child, file: bytes, side: int, param: str) -> Picture:
        for _ in range(TRIES):
            await self._start(process)
            try:
                async with asyncio.timeout(self._timeout):
                    head, content = await process.ask({"size": len(file), "side": side, "pixels": self._pixels}, file)
            except TimeoutError:
                log.warning("image_decoder_killed", cause=f"no answer within {self._timeout:g} s")
                raise InvalidImage(f"{param} takes too long to decode", param=param) from None
            except (OSError, EOFError, ValueError) as error:
                log.warning("image_decoder_died", cause=type(error).__name__)
                continue
            if problem := head.get("error"):
                raise InvalidImage(f"{param} {problem}", param=param)
            return Picture(content, head["width"], head["height"])
        raise InvalidImage(f"{param} is damaged", param=param)

    @staticmethod
    async def _start(process: Child) -> None:
        try:
            await _start(process)
        except (OSError, EOFError, TimeoutError) as error:
            log.error("image_decoder_not_started", cause=type(error).__name__)
            raise EngineUnavailable("the process that decodes images does not start") from None

    @property
    def pids(self) -> list[int]:
        """The process ids of those that run."""
        return [pid for process in self._all if (pid := process.pid) is not None]

    async def close(self) -> None:
        """Ends all. Safe to call more than once."""
        await asyncio.gather(*(process.kill() for process in self._all))


async def _start(process: Child) -> None:
    """Raises OSError, EOFError and TimeoutError."""
    said = await process.start()
    if said is not None and not said.get("confined"):
        log.warning("image_decoder_unconfined", detail="no seccomp filter: the kernel or its container refuses one")
