"""Descriptors 0, 1 and 2 are always open.

A process may be started with some of them closed (`>&-`). Python then sets sys.stdout or sys.stderr to None, and the
next file or socket that the process opens takes the number: what a library prints would go into a database or to a
client.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

NAMES = ("stdin", "stdout", "stderr")


def ensure_open() -> None:
    """Opens what is closed on /dev/null, for reading only: writing fails (EBADF), so what nobody sees is not counted
    as shown. Python's own objects are never None afterwards, and take what libraries print."""
    for descriptor in range(len(NAMES)):
        if not _is_open(descriptor):
            _open_on_null(descriptor)
    for descriptor, name in enumerate(NAMES):  # only now: these are files, too, and take numbers above
        if getattr(sys, name) is None:
            setattr(sys, name, _null(descriptor))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _open_on_null(descriptor: int) -> None:
    opened = os.open(os.devnull, os.O_RDONLY)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    os.set_inheritable(descriptor, True)


def _null(descriptor: int) -> TextIO:
    """Not on the descriptor itself: Python flushes these objects at its end, and a failure would be the exit code."""
    return open(os.devnull, "r" if descriptor == 0 else "w", encoding="utf-8")
