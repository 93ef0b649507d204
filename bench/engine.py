"""Output tokens per CPU second of the engine's process: inside the platform, against xllamacpp alone.

    python bench/engine.py [--streams 8] [--tokens 800] [--rounds 8] [--slots 8] [--threads CORES-1] [--file GGUF]

Both sides stay started, with the same model, context, slots and threads, and take turns, so a busy machine meets all of
them alike. In every turn so many streams run at once, with the same prompts, sampling and max_tokens; the tokens that
would end an answer are forbidden on both sides, so every stream has its full length. xllamacpp alone is measured twice:
over its own HTTP port, and through handle_chat_completions in its own process; the better one is what we compare with.
CPU time is that of the engine's process and its threads, user and system; of the other services it stands beside it.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvloop

from common.gguf import control_tokens, facts
from services.inference.default_model import FILE as DEFAULT_FILE

ROOT = Path(__file__).resolve().parent.parent
CONTEXT = 2048
SERVICES = ("edge", "auth", "quota", "inference")
QUESTIONS = (
    "Tell me a long story about a lighthouse.",
    "What is the capital of France, and what is it known for?",
    "Explain how rain is made.",
    "Write a letter to a friend who has moved away.",
)
# As the engine samples where a request says nothing (engines/llama/request.py).
SAMPLING = {"temperature": 0.7, "top_p": 0.95, "top_k": 40, "min_p": 0.05}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=8, help="streams at once")
    parser.add_argument("--tokens", type=int, default=800, help="output tokens of each stream")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each side")
    parser.add_argument("--slots", type=int, default=8, help="slots of the engine on both sides")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--file", type=Path, default=DEFAULT_FILE, help="a GGUF; default: the shipped model")
    return parser.parse_args()


@dataclass
class Turn:
    """What one turn of one side took. CPU in seconds, by process; "engine" is the one that runs llama.cpp."""

    tokens: int
    seconds: float
    cpu: dict[str, float]

    @property
    def per_cpu_second(self) -> float:
        """Tokens for a CPU second of the engine's process."""
        return self.tokens / self.cpu["engine"]


@dataclass
class Side:
    """One of those that are compared: where it is, and whose CPU counts as what."""

    name: str
    url: str
    headers: dict[str, str]
    processes: dict[str, list[psutil.Process]]
    extra: dict[str, Any] = field(default_factory=dict)  # of a request's body
    turns: list[Turn] = field(default_factory=list)

    @property
    def per_cpu_second(self) -> float:
        """Tokens for a CPU second of the engine's process, over all rounds."""
        return sum(turn.tokens for turn in self.turns) / sum(turn.cpu["engine"] for turn in self.turns)

    async def turn(self, options: argparse.Namespace, biases: dict[str, float]) -> Turn:
        """All streams at once over HTTP, to their ends."""
        before, started = self._cpu(), time.perf_counter()
        timeout = aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(headers=self.headers, timeout=timeout) as http:
            bodies = requests(options, biases, self.extra)
            tokens = sum(await asyncio.gather(*(self._stream(http, each) for each in bodies)))
        seconds, after = time.perf_counter() - started, self._cpu()
        return Turn(tokens, seconds, {name: after[name] - before[name] for name in after})

    async def _stream(self, http: aiohttp.ClientSession, request: dict[str, Any]) -> int:
        """The output tokens of one answer, as its usage tells them."""
        tail = b""
        async with http.post(f"{self.url}/v1/chat/completions", json=request) as answer:
            if answer.status != 200:
                raise SystemExit(f"{self.name} answered {answer.status}: {await answer.text()}")
            async for piece in answer.content.iter_any():
                tail = (tail + piece)[-4096:]
        for line in reversed(tail.split(b"\n")):
            if line.startswith(b"data: {") and (usage := json.loads(line[6:]).get("usage")):
                return int(usage["completion_tokens"])
        raise SystemExit(f"{self.name} ended a stream without its usage")

    def _cpu(self) -> dict[str, float]:
        return {
            name: sum(times.user + times.system for times in (process.cpu_times() for process in processes))
            for name, processes in self.processes.items()
        }


def requests(options: argparse.Namespace, biases: dict[str, float], extra: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests of one turn, the same for every side; `extra` is what the platform adds by itself."""
    return [
        {
            "model": "muh-chat",
            "messages": [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}],
            "max_tokens": options.tokens,
            "temperature": SAMPLING["temperature"],
            "top_p": SAMPLING["top_p"],
            "logit_bias": biases,
            "stream": True,
            "stream_options": {"include_usage": True},
            **extra,
        }
        for number in range(options.streams)
    ]


def endless(file: Path) -> dict[str, float]:
    """A bias against every control token, among them all that would end an answer."""
    controls, end = set(control_tokens(file)), facts(file).get("tokenizer.ggml.eos_token_id", 0)
    from gguf import GGUFReader

    texts = GGUFReader(file).fields["tokenizer.ggml.tokens"].contents()
    return {str(token): -100.0 for token, text in enumerate(texts) if text in controls or token == end}


@contextmanager
def alone(options: argparse.Namespace) -> Iterator[tuple[Side, subprocess.Popen[str]]]:
    """xllamacpp in a process of its own."""
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, str(ROOT / "bench" / "engine_alone.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        config = {"file": str(options.file), "context": CONTEXT, "slots": options.slots, "threads": options.threads}
        told = ask(process, config)
        extra = {"top_k": SAMPLING["top_k"], "min_p": SAMPLING["min_p"]}
        yield (
            Side("xllamacpp, its HTTP port", told["address"], {}, {"engine": [psutil.Process(told["pid"])]}, extra),
            process,
        )
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def ask(process: subprocess.Popen[str], order: Any) -> dict[str, Any]:
    """One line to the process, one from it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit("xllamacpp alone ended; see above")
    answer: dict[str, Any] = json.loads(line)
    return answer


@contextmanager
def platform(options: argparse.Namespace, folder: Path) -> Iterator[Side]:
    """`muhgpt up`, one account that may send much, and its processes."""
    environment = {
        **os.environ,
        "MUHGPT_INFERENCE_LLAMA_SLOTS": str(options.slots),
        "MUHGPT_INFERENCE_LLAMA_THREADS": str(options.threads),
        "MUHGPT_INFERENCE_MODEL_FILE": str(options.file),
    }
    muhgpt = [sys.executable, "-m", "muhgpt_cli.main"]
    data_dir = ["--data-dir", str(folder / "data"), "--json"]
    with subprocess.Popen(
        [*muhgpt, "up", "--port", "0", *data_dir],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            limit = ["--requests-per-minute", "100000"]
            subprocess.run(
                [*muhgpt, "accounts", "set", "you@example.com", *limit, *data_dir],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            headers = {"authorization": f"Bearer {ready['api_key']}"}
            url = ready["base_url"].removesuffix("/v1")
            yield Side("the platform", url, headers, processes(folder / "data"))
        finally:
            process.terminate()
            process.wait(60)


def processes(data_dir: Path) -> dict[str, list[psutil.Process]]:
    """Every process of the platform, by service; the engine's stands alone."""
    pids = json.loads((data_dir / "run.json").read_text())["pids"]
    found: dict[str, list[psutil.Process]] = {"engine": []}
    for name in SERVICES:
        parent = psutil.Process(pids[name])
        for each in (parent, *parent.children(recursive=True)):
            is_engine = any("llama.worker" in argument for argument in each.cmdline())
            found.setdefault("engine" if is_engine else name, []).append(each)
    if len(found["engine"]) != 1:
        raise SystemExit("the platform does not run exactly one engine")
    return found


async def measure(options: argparse.Namespace) -> list[Side]:
    biases = endless(options.file)
    with (
        tempfile.TemporaryDirectory() as name,
        alone(options) as (port, process),
        platform(options, Path(name)) as ours,
    ):
        inside = Side("xllamacpp, handle_chat_completions", "", {}, {})
        order = requests(options, biases, port.extra)
        for number in range(options.rounds + 1):  # the first warms up
            turns = [(port, await port.turn(options, biases))]
            told = ask(process, order)
            turns.append((inside, Turn(told["tokens"], 0.0, {"engine": told["cpu"]})))
            turns.append((ours, await ours.turn(options, biases)))
            for side, turn in turns if number else ():
                check(side, turn, options)
                side.turns.append(turn)
    return [port, inside, ours]


def check(side: Side, turn: Turn, options: argparse.Namespace) -> None:
    """Every stream must have had its full length, or the sides would not have done the same."""
    if turn.tokens != options.streams * options.tokens:
        raise SystemExit(f"{side.name} made {turn.tokens} tokens, not {options.streams} times {options.tokens}")


def report(options: argparse.Namespace, sides: list[Side]) -> None:
    figures = {side.name: side.per_cpu_second for side in sides}
    ours = sides[-1]
    best = max(figures[side.name] for side in sides[:-1])
    cores = os.cpu_count()
    print(f"{options.streams} streams of {options.tokens} tokens, {options.rounds} rounds, {options.slots} slots,")
    print(f"{options.threads} threads, {cores} cores, {options.file.name}\n")
    print(f"{'':36}{'tokens / engine CPU s':>22}{'least to most':>20}{'ratio':>8}")
    for side in sides:
        each = [turn.per_cpu_second for turn in side.turns]
        spread = f"{min(each):,.0f} to {max(each):,.0f}"
        print(f"{side.name:36}{figures[side.name]:>22,.0f}{spread:>20}{figures[side.name] / best:>8.3f}")
    pairs = [
        turn.per_cpu_second / max(other.turns[number].per_cpu_second for other in sides[:-1])
        for number, turn in enumerate(ours.turns)
    ]
    print(
        f"\nround by round, the platform to the better of the other two: {', '.join(f'{pair:.3f}' for pair in pairs)}"
    )
    total = sum(turn.tokens for turn in ours.turns)
    shares = {name: sum(turn.cpu[name] for turn in ours.turns) / total * 1000 for name in ("engine", *SERVICES)}
    print("CPU seconds for 1,000 tokens: " + ", ".join(f"{name} {share:.3f}" for name, share in shares.items()))


def main() -> None:
    options = arguments()
    report(options, uvloop.run(measure(options)))


if __name__ == "__main__":
    main()
