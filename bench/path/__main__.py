"""CPU per request and per streamed event of the whole request path, by process, beside LiteLLM's proxy, in one run.

    python -m bench.path [--seconds 5] [--rounds 3] [--litellm FOLDER] [--postgresql] [--only NAME] [--assert-floor]

Everything is on loopback. The gateways take turns within each round, so that a busy machine slows all of them; ratios
are medians over the rounds. "Per core" is what one second of CPU time of all the gateway's processes serves. LiteLLM
runs from an environment of its own (`python -m venv FOLDER && FOLDER/bin/pip install 'litellm[proxy]'`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.path.gateways import Gateway, litellm, ours, postgresql, upstream

LITELLM_PORT = 14_000
WARM_UP = 1.5  # seconds
FLOOR_WHOLE = FLOOR_EVENTS = 15.0  # times LiteLLM's, per core
FLOOR_P50_MS = 2.0
MAX_UPSTREAM_SHARE = 0.25  # of the two cores' time; more, and the upstream would be part of what is measured


@dataclass(frozen=True)
class Workload:
    """What the clients ask for; `unit` is what is counted."""

    name: str
    model: str
    stream: bool
    clients: int
    tokens: int
    unit: str


WORKLOADS = (
    Workload("whole answers, 1 client", "burst", False, 1, 64, "requests"),
    Workload("whole answers, 32 clients", "burst", False, 32, 64, "requests"),
    Workload("whole answers, 128 clients", "burst", False, 128, 64, "requests"),
    Workload("whole answers of one event, 32 clients", "single", False, 32, 1, "requests"),
    Workload("streams in a burst, 32 clients", "burst", True, 32, 64, "requests"),
    Workload("paced streams, 1 client", "paced", True, 1, 64, "events"),
    Workload("paced streams, 32 clients", "paced", True, 32, 64, "events"),
    Workload("paced streams, 128 clients", "paced", True, 128, 64, "events"),
)


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    report: dict[str, Any]
    cpu: dict[str, float]  # seconds by process
    upstream_cpu: float

    def per_core(self, unit: str) -> float:
        """Units for a second of CPU time of all the gateway's processes."""
        return float(self.report[unit]) / max(sum(self.cpu.values()), 1e-9)

    def microseconds(self, unit: str) -> dict[str, float]:
        """CPU time of each process for one unit."""
        return {name: seconds / max(self.report[unit], 1) * 1e6 for name, seconds in self.cpu.items()}


def measure(gateway: Gateway, workload: Workload, source: Gateway, seconds: float) -> Sample:
    """Runs the load for some seconds. Raises SystemExit when requests failed: then nothing was measured."""
    options = {
        "host": "127.0.0.1",
        "port": gateway.port,
        "path": gateway.path,
        "keys": gateway.keys,
        "model": workload.model,
        "stream": workload.stream,
        "clients": workload.clients,
        "tokens": workload.tokens,
        "warm_up": WARM_UP,
        "seconds": seconds,
    }
    command = [sys.executable, "-m", "bench.path.load", json.dumps(options)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as load:
        assert load.stdout is not None
        load.stdout.readline()
        before, upstream_before = gateway.cpu_seconds(), source.cpu_seconds()
        line = load.stdout.readline()
        after, upstream_after = gateway.cpu_seconds(), source.cpu_seconds()
    if not line:
        raise SystemExit(f"{gateway.name}: the load ended early")
    report = json.loads(line)
    if report["failures"]:
        raise SystemExit(f"{gateway.name}, {workload.name}: {report['failures']}")
    cpu = {name: after[name] - before[name] for name in after}
    return Sample(report, cpu, sum(upstream_after.values()) - sum(upstream_before.values()))


def median(samples: Sequence[Sample], value: Any) -> float:
    """The median of what `value` makes of each sample."""
    return statistics.median(value(each) for each in samples)


def line(gateway: str, workload: Workload, samples: Sequence[Sample], base: Sequence[Sample] | None) -> str:
    """One row of the table."""
    unit = workload.unit
    names = samples[0].cpu
    cost = ", ".join(f"{name} {median(samples, lambda s, n=name: s.microseconds(unit)[n]):.0f}" for name in names)
    own = median(samples, lambda s: s.per_core(unit))
    ratio = f"{own / median(base, lambda s: s.per_core(unit)):.1f}" if base else ""
    share = median(samples, lambda s: s.upstream_cpu / s.report["seconds"])
    p50, p99 = (median(samples, lambda s, n=name: s.report[n]) for name in ("p50_ms", "p99_ms"))
    return f"| {workload.name} | {gateway} | {own:,.0f} | {ratio} | {p50:.2f} / {p99:.2f} | {cost} | {share:.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--litellm", type=Path, help="its environment; without, nothing is compared")
    parser.add_argument("--postgresql", action="store_true", help="ours on PostgreSQL as well")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--assert-floor", action="store_true", help="exit code 1 below the floors")
    options = parser.parse_args()
    workloads = [each for each in WORKLOADS if options.only in each.name]
    with tempfile.TemporaryDirectory(prefix="muhgpt-") as name, ExitStack() as stack:
        folder = Path(name)
        source = stack.enter_context(upstream(folder))
        gateways = [stack.enter_context(ours(folder / "sqlite", source.port, {}))]
        if options.postgresql:
            databases = stack.enter_context(postgresql(folder / "pg"))
            gateways.append(stack.enter_context(ours(folder / "postgresql", source.port, databases)))
        if options.litellm:
            gateways.append(
                stack.enter_context(litellm(folder / "litellm", source.port, options.litellm, LITELLM_PORT))
            )
        failed = compare(gateways, source, workloads, options)
    if failed and options.assert_floor:
        raise SystemExit("\n".join(failed))


def compare(gateways: list[Gateway], source: Gateway, workloads: list[Workload], options: Any) -> list[str]:
    """Measures, prints the table, and gives the floors that were missed."""
    print("| workload | gateway | units/s per core | ÷ LiteLLM | p50 / p99 ms | CPU µs a unit | upstream's CPU |")
    print("|---|---|--:|--:|--:|---|--:|", flush=True)
    missed: list[str] = []
    for workload in workloads:
        samples: dict[str, list[Sample]] = {each.name: [] for each in (source, *gateways)}
        for _ in range(options.rounds):
            for each in (source, *gateways):
                samples[each.name].append(measure(each, workload, source, options.seconds))
        base = samples.get("LiteLLM")
        for each in (*gateways, source):
            print(line(each.name, workload, samples[each.name], base if each is not source else None), flush=True)
        missed += floors(workload, samples[gateways[0].name], base)
    for text in missed:
        print(f"below the floor: {text}")
    return missed


def floors(workload: Workload, samples: list[Sample], base: list[Sample] | None) -> list[str]:
    """What docs/performance.md promises and this run did not show."""
    missed = []
    share = median(samples, lambda s: s.upstream_cpu / s.report["seconds"])
    if share > MAX_UPSTREAM_SHARE:
        missed.append(f"{workload.name}: the upstream took {share:.0%} of a core and is part of the figure")
    if base is not None and workload.clients == 32 and workload.model != "single":
        ratio = median(samples, lambda s: s.per_core(workload.unit)) / median(base, lambda s: s.per_core(workload.unit))
        floor = FLOOR_EVENTS if workload.unit == "events" else FLOOR_WHOLE
        if ratio < floor:
            missed.append(f"{workload.name}: {ratio:.1f} times LiteLLM's, {floor:g} are wanted")
    if workload.clients == 1 and not workload.stream:
        added = median(samples, lambda s: s.report["p50_ms"])
        if added > FLOOR_P50_MS:
            missed.append(f"{workload.name}: p50 {added:.2f} ms, {FLOOR_P50_MS:g} are wanted")
    return missed


if __name__ == "__main__":
    main()
