"""Peak memory of each service while an attack runs, as a pod's limit would count it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

INTERVAL = 0.05  # seconds between two looks
BASE = Path(__file__).parents[2] / "deploy" / "k8s" / "base"
SERVICES = ("edge", "auth", "quota", "inference")
UNITS = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


class Peaks:
    """The largest sum of a service's processes, and its largest single process, in bytes."""

    def __init__(self, roots: Callable[[], dict[str, int]]) -> None:
        self._roots = roots
        self.whole: dict[str, int] = dict.fromkeys(SERVICES, 0)
        self.single: dict[str, int] = dict.fromkeys(SERVICES, 0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Looks, from a thread, until the block ends."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        while True:
            for service, pid in self._roots().items():
                sizes = [resident(each) for each in family(pid)]
                self.whole[service] = max(self.whole[service], charged(sizes))
                self.single[service] = max(self.single[service], *(sum(size) for size in sizes or [(0, 0)]))
            if over.wait(INTERVAL):
                return


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def resident(pid: int) -> tuple[int, int]:
    """Bytes of its own, and bytes of mapped files (which processes share); zeros when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    sizes = {
        name: int(value.split()[0]) * 1024
        for name, _, value in (line.partition(":") for line in lines)
        if "kB" in value
    }
    return sizes.get("RssAnon", 0) + sizes.get("RssShmem", 0), sizes.get("RssFile", 0)


def charged(sizes: list[tuple[int, int]]) -> int:
    """What a pod is charged for: everybody's own pages, and the shared files once."""
    return sum(own for own, _ in sizes) + max((files for _, files in sizes), default=0)


def pod_limits() -> dict[str, int]:
    """Bytes that the containers of each service may take, from deploy/k8s/base."""
    limits = {}
    for service in SERVICES:
        deployment = yaml.safe_load((BASE / service / "deployment.yaml").read_text())
        containers = deployment["spec"]["template"]["spec"]["containers"]
        limits[service] = sum(to_bytes(each["resources"]["limits"]["memory"]) for each in containers)
    return limits


def to_bytes(quantity: str) -> int:
    """A Kubernetes quantity with a binary unit: "512Mi"."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]
