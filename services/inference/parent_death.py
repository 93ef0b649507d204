"""For the first lines of a worker process: it must not outlive the service that started it."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent dies, in whatever way; Ctrl-C it leaves to the parent."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # in a terminal it reaches the whole group; the parent decides
