"""How many descriptors this process may open: as many as the system lets it."""

from __future__ import annotations

import resource

from servicekit.observability.logging import get_logger

log = get_logger(__name__)

MAX_DESCRIPTORS = 1_048_576  # where the hard limit is "unlimited"; Linux takes no more by default


def raise_file_limit() -> int:
    """Raises the soft limit of open files to the hard one; returns the limit in force, and logs it.

    The usual soft limit of 1,024 is there for programs that use select(); none of ours does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        log.info("file_limit", limit=soft)
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:  # a system that allows less than its hard limit says
        log.warning("file_limit_kept", limit=soft, wanted=wanted, error=type(error).__name__)
        return soft
    log.info("file_limit", limit=wanted)
    return wanted
