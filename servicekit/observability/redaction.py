"""An exception as logs may show it: what kind, raised where. Never its text: it may quote a prompt or a key (G11)."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

OURS_MOST, INNERMOST = 8, 4  # frames of each exception: of our code, and whosever are the innermost
ROOT = str(Path(__file__).parents[2]) + "/"
LIBRARIES = "/site-packages/"
CHAIN_MOST = 6  # exceptions that led to one another


def describe(error: BaseException) -> list[dict[str, Any]]:
    """The exception and those that led to it, outermost first: `type`, `at` (innermost frame last), perhaps `errno`
    or `sqlstate`."""
    return [_one(each) for each, _ in zip(_chain(error), range(CHAIN_MOST), strict=False)]


def told(error: BaseException) -> str:
    """The same on several lines, for people."""
    parts = []
    for each in describe(error):
        head = f"{each['type']} [{each['errno']}]" if "errno" in each else each["type"]
        parts.append("\n".join([head, *(f"  at {place}" for place in each["at"])]))
    return "\nafter ".join(parts)


def without_text(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: `exc_info` becomes `exception`, described."""
    if (error := _error_of(event.pop("exc_info", None))) is not None:
        event["exception"] = describe(error)
    return event


def without_text_for_people(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The same for the console."""
    if (error := _error_of(event.pop("exc_info", None))) is not None:
        event["exception"] = told(error)
    return event


def _error_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exception() if exc_info else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """A group's members count as what led to it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        if each.__cause__ is not None:
            waiting.append(each.__cause__)
        elif each.__context__ is not None and not each.__suppress_context__:
            waiting.append(each.__context__)


def _one(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    shown = [index for index, frame in enumerate(frames) if _is_ours(frame)][-OURS_MOST:]
    shown = sorted({*shown, *range(max(0, len(frames) - INNERMOST), len(frames))})
    described: dict[str, Any] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
        "at": [f"{_short(frames[index].filename)}:{frames[index].lineno} {frames[index].name}" for index in shown],
    }
    if isinstance(error, OSError) and error.errno is not None:
        described["errno"] = errno.errorcode.get(error.errno, str(error.errno))
    state = getattr(error, "sqlstate", None)  # PostgreSQL's five letters and digits
    if isinstance(state, str) and re.fullmatch(r"[0-9A-Z]{5}", state):
        described["sqlstate"] = state
    return described


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(ROOT) and LIBRARIES not in frame.filename


def _short(file: str) -> str:
    """The path from the folder of libraries, or from ours."""
    return file.rpartition(LIBRARIES)[2].removeprefix(ROOT)
