"""Becomes a program of another user that cannot outlive this one: as_user.py PARENT USER PROGRAM ARGUMENT…

Popen(user=…) would do the half of it, but it forks where Popen otherwise uses vfork, and gRPC's threads do not survive
a fork: seen, as a test run that was gone without a word.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """USER may be empty: then it stays as it is."""
    parent, user, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if user:
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
