"""The files in which several workers keep their metrics, made so that a full disk cannot kill one.

prometheus_client maps sparse files into memory. Where the disk has no room for a page that is written to, the kernel
sends SIGBUS: one counter more, and the worker is dead. So room is taken when a file is made or grows, which fails with
an error, and then that worker counts in memory: its figures are missing, its answers are not.
"""

from __future__ import annotations

import mmap
import os
import threading
from contextlib import suppress
from functools import partial
from typing import Any

import prometheus_client.values
from prometheus_client import mmap_dict

from servicekit.observability.logging import get_logger

log = get_logger(__name__)


class MetricsFile(mmap_dict.MmapedDict):
    """prometheus_client's own file of values, with its room taken in advance. Not safe for several threads."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        """As the base class; `filename` is not touched where the disk has no room for it."""
        if read_mode or _take_room(filename, mmap_dict._INITIAL_MMAP_SIZE):
            super().__init__(filename, read_mode)
            return
        self._f: Any = None
        self._fname = filename
        self._capacity = mmap_dict._INITIAL_MMAP_SIZE
        self._m: Any = mmap.mmap(-1, self._capacity)
        self._positions: dict[str, int] = {}
        self._used = 8
        mmap_dict._pack_integer(self._m, 0, self._used)

    def _init_value(self, key: str) -> None:
        """A new value; makes room for it first."""
        longest = len(key.encode()) + 32  # its length, its padding and two doubles
        if self._used + longest > self._capacity:
            self._grow()
        super()._init_value(key)

    def _grow(self) -> None:
        capacity = self._capacity * 2
        if self._f is None or not _take_room(self._fname, capacity):
            grown: Any = mmap.mmap(-1, capacity)
            grown[: self._used] = self._m[: self._used]
            self._f = None
        else:
            grown = mmap.mmap(self._f.fileno(), capacity)
        self._m, self._capacity = grown, capacity

    def close(self) -> None:
        """Nothing is kept of what is only in memory."""
        if self._f is not None:
            super().close()


def install() -> None:
    """Has prometheus_client use it; before the first metric gets a value."""
    prometheus_client.values.MmapedDict = MetricsFile  # type: ignore[misc]


def _take_room(filename: str, size: int) -> bool:
    try:
        file = os.open(filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.posix_fallocate(file, 0, size)
        finally:
            os.close(file)
    except OSError as error:
        _report(file=os.path.basename(filename), error=error.strerror)
        return False
    return True


def _report(**fields: object) -> None:
    """From a thread: prometheus_client's lock is held here, and logging may wait for one that counts."""
    with suppress(RuntimeError):  # no thread can be started
        threading.Thread(target=partial(log.error, "metrics_not_kept", **fields), daemon=True).start()
