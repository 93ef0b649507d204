"""What a service's processes have used: CPU time and memory, child processes included."""

from __future__ import annotations

import psutil


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children so far; of one that has just ended 0."""
    return sum(map(_cpu, family(pid)))


def private_bytes(pid: int) -> int:
    """Memory that no other process shares (USS), of a process and its children."""
    return sum(int(each.memory_full_info().uss) for each in family(pid))


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
