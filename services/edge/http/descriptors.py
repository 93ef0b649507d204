"""How many connections fit under the process's limit of open files, with room left for everything else."""

from __future__ import annotations

import resource

from servicekit.observability.logging import get_logger

log = get_logger(__name__)

RESERVE = 64  # the process's own: streams to the other services, logs, metrics, timers
TURNED_AWAY = 64  # connections for which there was no place, while they read why
MAX_BACKLOG = 2048  # connections that the kernel has made and nobody has taken yet
MIN_CONNECTIONS = 8


def backlog() -> int:
    """What the listening socket queues. All of it may be taken in one go, before any of it can be turned away."""
    return max(16, min(MAX_BACKLOG, _limit() // 8))


def connections_that_fit(wanted: int) -> int:
    """At most wanted; fewer, with a warning, where the limit of open files is low."""
    fit = max(MIN_CONNECTIONS, _limit() - RESERVE - TURNED_AWAY - backlog())
    if fit < wanted:
        log.warning("connections_capped", wanted=wanted, connections=fit, file_limit=_limit())
    return min(wanted, fit)


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
