"""Standard output and error as a command has them: what it was asked for is shown or the command fails; what it says
beside harms nothing."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from servicekit.observability.log_output import standard_error

INSTEAD = "backslashreplace"  # of characters that an encoding does not have


def prepare() -> None:
    """Sets sys.stdout and sys.stderr. To be called once, before anything is written."""
    sys.stdout = _strict_output()
    sys.stderr = Messages(_encoding(sys.stderr))


def takes_unicode(stream: TextIO) -> bool:
    """Whether every character can be written there as it is."""
    try:
        return codecs.lookup(_encoding(stream)).name in ("utf-8", "utf-16", "utf-32")
    except LookupError:
        return False


def finish(code: int) -> int:
    """Writes what is left of standard output; returns the exit code: 1 instead of 0 where that fails.

    Python would do it later, and end with a stack trace.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        if code == 0:
            sys.stderr.write(f"error: {unwritable(error)}\n")
            code = 1
    forget_output()
    return code


def unwritable(error: OSError) -> str:
    """What to say when standard output takes nothing."""
    return f"standard output cannot be written: {error.strerror or type(error).__name__}"


class _Descriptor(io.FileIO):
    """Descriptor 1, also where it was closed when the process began (servicekit opens it so that writing fails)."""

    failed: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failed = error
            raise


def failure() -> OSError | None:
    """What standard output said when it took nothing, whoever wrote."""
    return _output.failed if _output else None


def _strict_output() -> TextIO:
    """Errors reach whoever writes."""
    global _output
    before, _output = sys.stdout, _Descriptor(1, "w", closefd=False)
    # What Python opened for a descriptor that was closed leads elsewhere, and knows no encoding.
    encoding = _encoding(before) if _is_ours(before) else "utf-8"
    buffered = io.BufferedWriter(_output)
    return io.TextIOWrapper(buffered, encoding=encoding, errors=INSTEAD, line_buffering=_output.isatty())


def _is_ours(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):
        return False


def _encoding(stream: TextIO) -> str:
    return getattr(stream, "encoding", None) or "ascii"


def forget_output() -> None:
    """What could not be written is dropped, and nothing more is expected of standard output."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        sys.stdout.flush()
    if _output is not None:
        _output.failed = None


class Messages(io.TextIOBase):
    """Standard error for people: written at once, without ever raising or waiting, whatever is behind it."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream which Python had opened."""
        return self._encoding

    def write(self, text: str) -> int:
        """Takes all of it."""
        standard_error().write(text.encode(self._encoding, INSTEAD))
        return len(text)

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether somebody may be looking."""
        try:
            return os.isatty(2)
        except OSError:
            return False

    def fileno(self) -> int:
        """2."""
        return 2


_output: _Descriptor | None = None
