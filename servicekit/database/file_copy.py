"""The copy of a SQLite file that is made before a migration changes it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from servicekit.errors import StartupError

SUFFIX = ".before-upgrade"


def copy_place(file: Path) -> Path:
    """Where the copy of a database lies: beside it."""
    return file.with_name(file.name + SUFFIX)


def copy_before_upgrade(file: Path) -> Path:
    """Copies a database that nobody writes to, with what its log holds; gives the copy, which replaces the last one.

    Takes as long as reading and writing the file does. Raises StartupError: there is no room, or the file is broken.
    """
    place = copy_place(file)
    unfinished = place.with_name(place.name + ".part")
    try:
        unfinished.unlink(missing_ok=True)  # of a copy that was cut short
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("VACUUM INTO ?", (str(unfinished),))
        unfinished.chmod(file.stat().st_mode & 0o777)
        _to_disk(unfinished)
        os.replace(unfinished, place)
        _to_disk(place.parent)
    except (OSError, sqlite3.Error) as error:
        unfinished.unlink(missing_ok=True)
        raise StartupError(
            f"cannot copy {file} to {place} before the upgrade: {error}; nothing was changed: make room for a second"
            " file of its size, and start again"
        ) from None
    return place


def _to_disk(path: Path) -> None:
    """SQLite does not wait for the disk when it writes a copy."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
