"""CPU time of the inference process for each event and request, of this tree and others, interleaved in one run.

    python -m bench.inference [TREE …] [--rounds 3] [--seconds 4]

A TREE is another checkout (a git worktree). The upstream is bench/path's; the edge's side of the stream is played here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.path.gateways import filled, running
from muhgpt.inference.v1 import inference_pb2 as pb
from muhgpt.inference.v1 import inference_pb2_grpc
from servicekit.rpc.client import connect

HERE = Path(__file__).parents[1]
MODELS = ("burst", "paced", "single")
MODEL = """
  {model}:
    context_length: 8192
    price: {{input: 1000000, output: 3000000}}
    targets:
      - {{engine: upstream, base_url: "http://127.0.0.1:{port}/v1", model: {model}, max_concurrent: 4096}}
"""
# model, streams at once, tokens of an answer
WORKLOADS = {
    "paced, 32 streams": ("paced", 32, 200),
    "paced, 96 streams": ("paced", 96, 200),
    "bursts of 64, 32 streams": ("burst", 32, 64),
    "one event, 32 streams": ("single", 32, 64),
    "one event, 1 stream": ("single", 1, 64),
}


@dataclass(frozen=True)
class Service:
    """A running inference process."""

    tree: str
    address: str
    token: str
    pid: int

    def cpu(self) -> float:
        """Seconds used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def service(tree: Path, folder: Path, port: str) -> Iterator[Service]:
    """The inference process of a checkout, with three models on the upstream."""
    models, token, address = folder / "models.yaml", folder / "token", folder / "address"
    models.write_text("models:" + "".join(MODEL.format(model=model, port=port) for model in MODELS))
    token.write_text("edge-token-of-the-benchmark")
    settings = {
        "EDGE_TOKEN_FILE": token,
        "OPERATOR_TOKEN_FILE": token.with_name("operator"),
        "ADDRESS_FILE": address,
        "MODELS_FILE": models,
        "QUEUE_LIMIT": 10_000,
    }
    token.with_name("operator").write_text("operator-token-of-the-benchmark")
    paths = os.pathsep.join(map(str, (tree, tree / "gen")))
    environment = {**os.environ, "PYTHONPATH": paths}
    environment |= {f"MUHGPT_INFERENCE_{name}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "services.inference.main"]
    process = subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield Service(tree.name, filled(address), token.read_text(), process.pid)
    finally:
        process.terminate()
        process.wait()


class Edge:
    """Keeps so many generations under way on one stream until the time is over; counts what comes."""

    def __init__(self, model: str, tokens: int) -> None:
        self.events = self.messages = self.finished = 0
        self._model = model
        self._tokens = tokens
        self._next = 0
        self._commands: list[pb.Command] = []

    async def run(self, at: Service, streams: int, seconds: float) -> None:
        peer = connect(at.address, token=at.token)
        call = inference_pb2_grpc.InferenceStub(peer.channel).Session(metadata=peer.metadata())
        await call.write(pb.SessionRequest(hello=pb.SessionHello(session_id=os.urandom(16), edge_name="bench")))
        await call.read()
        for _ in range(streams):
            self._begin()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._commands:
                commands, self._commands = self._commands, []
                await call.write(pb.SessionRequest(commands=pb.Commands(commands=commands)))
            self._read(await call.read())
        call.cancel()
        await peer.close()

    def _begin(self) -> None:
        self._next += 1
        message = pb.Message(role=pb.Message.ROLE_USER, content=[pb.ContentPart(text="Write a word.")])
        request = pb.ChatRequest(model=self._model, messages=[message], sampling=pb.Sampling(choices=1))
        prepare = pb.Prepare(request=request, request_id=f"req-{self._next}", account_id="acct-1")
        self._commands.append(pb.Command(generation_id=self._next, prepare=prepare))

    def _read(self, response: pb.SessionResponse) -> None:
        self.messages += 1
        for event in response.events.events:
            kind = event.WhichOneof("event")
            if kind == "prepared":
                go = pb.Go(max_tokens=self._tokens)
                self._commands.append(pb.Command(generation_id=event.generation_id, go=go))
            elif kind == "delta":
                self.events += 1
            elif kind == "finished":
                self.finished += 1
                self._begin()
            elif kind == "failed":
                raise SystemExit(f"a generation failed: {event.failed.message}")


def measure(at: Service, workload: str, seconds: float) -> tuple[float, float, str]:
    """CPU µs an event, CPU µs a request, and what else is worth knowing."""
    model, streams, tokens = WORKLOADS[workload]
    edge = Edge(model, tokens)
    before = at.cpu()
    asyncio.run(edge.run(at, streams, seconds))
    used = (at.cpu() - before) * 1e6
    events = edge.events / max(1, edge.messages)
    return used / max(1, edge.events), used / max(1, edge.finished), f"{events:.1f} events a message"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("trees", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    trees = [*(tree.resolve() for tree in options.trees), HERE]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port_file = folder / "port"
        stack.enter_context(running([sys.executable, "-m", "bench.path.upstream", str(port_file)]))
        services = []
        for number, tree in enumerate(trees):
            own = folder / str(number)
            own.mkdir()
            services.append(stack.enter_context(service(tree, own, filled(port_file))))
        for at in services:
            measure(at, "one event, 32 streams", 1.0)
        print("| workload | tree | µs an event | µs a request | ÷ first tree | |\n|---|---|---|---|---|---|")
        for workload in WORKLOADS:
            _compare(services, workload, options.rounds, options.seconds)


def _compare(services: list[Service], workload: str, rounds: int, seconds: float) -> None:
    samples: dict[str, list[tuple[float, float, str]]] = {at.tree: [] for at in services}
    for _ in range(rounds):
        for at in services:
            samples[at.tree].append(measure(at, workload, seconds))
    first = 0.0
    for tree, found in samples.items():
        event, request = (statistics.median(each[place] for each in found) for place in (0, 1))
        first = first or event
        print(
            f"| {workload} | {tree} | {event:.1f} | {request:.0f} | {event / first:.2f} | {found[0][2]} |", flush=True
        )


if __name__ == "__main__":
    main()
