"""One worker process from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from servicekit.errors import StartupError
from servicekit.process.child import module_command

STOP_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
# Otherwise each of the worker's HTTP threads keeps what it freed in an arena of its own (docs/engine.md).
FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}


def _new_marker() -> str:
    return f"<__picture_{secrets.token_hex(12)}__>"


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker runs. `context_length` is of each slot, in tokens; `projector` is the file that makes it see.

    `media_marker` stands for a picture in a prompt. It is random, so that no client can write it, and the same in each
    worker of an engine, so that a prompt survives its worker.
    """

    file: Path
    context_length: int
    slots: int
    threads: int
    prompt_cache_mib: int = 256
    start_timeout: float = 120.0  # seconds to load the model
    projector: Path | None = None
    media_marker: str = field(default_factory=_new_marker)

    @property
    def http_threads(self) -> int:
        """One for each stream, and some for prompts and the watchdog: a stream holds its thread to its end."""
        return self.slots + 8

    def line(self, key: str) -> bytes:
        """What the worker reads; the key is not in its arguments, where other users could see it."""
        paths = {"file": str(self.file), "projector": str(self.projector or "")}
        fields = {**asdict(self), **paths, "http_threads": self.http_threads, "key": key}
        return json.dumps(fields).encode() + b"\n"

    @property
    def files(self) -> str:
        """What is loaded, for messages."""
        return f"{self.file} with the projector {self.projector}" if self.projector else str(self.file)


def check_file(file: Path, field: str = "file") -> None:
    """Raises StartupError unless the file can be read and begins as a GGUF does; `field` of the model list names it."""
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise StartupError(
            f"cannot read the model {file}: {error.strerror}; correct `{field}:` in the model list"
            + (" or MUHGPT_INFERENCE_MODEL_FILE" if field == "file" else "")
        ) from None
    if magic != b"GGUF":
        raise StartupError(f"{file} is not a model: a GGUF file begins with the letters GGUF; fetch or export it again")


class Worker:
    """A process that has loaded its model and answers at `address` to whoever shows `key`."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, key: str) -> None:
        self.address = address
        self.key = key
        self._process = process

    @classmethod
    async def start(cls, config: WorkerConfig) -> Worker:
        """Starts one and waits until its model is loaded. Raises StartupError that says what is wrong with what."""
        check_file(config.file)
        if config.projector is not None:
            check_file(config.projector, "projector")
        key = secrets.token_hex(24)
        process = await asyncio.create_subprocess_exec(
            *module_command("services.inference.engines.llama.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**FEW_ARENAS, **os.environ},
            # Linux shares a processor among sessions first, where it groups by them. In one session with the others a
            # thread that computes without a pause kept them waiting for seconds (docs/engine.md).
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(config.start_timeout):
                address = await cls._address(process, config, key)
        except TimeoutError:
            await _end(process)
            raise StartupError(
                f"the model {config.files} was not loaded within {config.start_timeout:.0f} s;"
                " is the machine too small?"
            ) from None
        except BaseException:
            await _end(process)
            raise
        return cls(process, address, key)

    @staticmethod
    async def _address(process: asyncio.subprocess.Process, config: WorkerConfig, key: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        # It died already: the empty line below says so. (Of a pipe that it closed so early uvloop says RuntimeError.)
        with contextlib.suppress(ConnectionError, RuntimeError):
            process.stdin.write(config.line(key))
            await process.stdin.drain()
        line = await process.stdout.readline()
        answer = json.loads(line) if line else {}
        if address := answer.get("address"):
            return str(address)
        if answer.get("error") == "import":
            raise StartupError(
                f"xllamacpp cannot be imported: {answer['detail']}; install the extra `inference` and the system's"
                " libgomp1 and libstdc++6"
            )
        if not answer:
            code = await process.wait()
            raise StartupError(f"the worker died with {_describe(code)} while it loaded {config.files}")
        raise StartupError(
            f"cannot load the model {config.files}: a file is damaged, cut short, or of a kind that this llama.cpp"
            " does not know, or the projector belongs to another model; fetch or export it again, or name another file"
            " in the model list"
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> str:
        """Waits until it has died; says how."""
        return _describe(await self._process.wait())

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL when it still lives after the grace."""
        await _end(self._process)

    async def kill(self) -> None:
        """SIGKILL: it does not answer, so it would not obey either."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_GRACE)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
