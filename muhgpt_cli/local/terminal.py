"""Two meanings of SIGHUP: the terminal has gone, or an operator asks for the model list to be read again."""

from __future__ import annotations

import os
import termios


class Terminal:
    """The terminal that this process was started from, if any."""

    def __init__(self) -> None:
        self._descriptors = [number for number in (0, 1, 2) if _is_terminal(number)]

    def has_gone(self) -> bool:
        """Whether there was one and it hung up: its settings cannot be asked for any more (EIO)."""
        return bool(self._descriptors) and not any(map(_answers, self._descriptors))


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


def _answers(number: int) -> bool:
    try:
        termios.tcgetattr(number)
    except (termios.error, OSError):
        return False
    return True
