"""Becomes another program that cannot outlive `muhgpt up`: python -m muhgpt_cli.local.child PARENT PROGRAM ARGUMENT…

PARENT is a process id. Linux sends the new program SIGTERM when that process dies, however it dies, so a `kill -9` of
`muhgpt up` leaves nothing behind. Elsewhere the next `muhgpt up` ends what was left. Every service passes through here,
so as little as possible is imported.
"""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ties this process to its parent, then becomes the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the tie was made
        sys.exit(1)
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
