"""What preparing one request has cost in CPU time, so that a refusal can be charged to whoever sent it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from servicekit.errors import DomainError

SPENT = "spent_ms"  # of an error's metadata (protos/muhgpt/inference/v1, Failed.spent)


class Spent:
    """Seconds so far, over all tasks that work on the request."""

    def __init__(self) -> None:
        self.seconds = 0.0


_current: ContextVar[Spent | None] = ContextVar("spent", default=None)


def add(seconds: float) -> None:
    """Counts so many seconds of another process, or of a worker's thread, to the request at hand."""
    if (spent := _current.get()) is not None:
        spent.seconds += max(0.0, seconds)


@contextmanager
def counted() -> Iterator[None]:
    """Counts this thread's CPU time. Nothing may be awaited within: other requests' time would count too."""
    began = time.thread_time()
    try:
        yield
    finally:
        add(time.thread_time() - began)


@contextmanager
def reported() -> Iterator[None]:
    """Around a request's preparation: a refusal tells in its metadata what it has cost."""
    spent = Spent()
    token = _current.set(spent)
    try:
        yield
    except DomainError as error:
        error.metadata[SPENT] = f"{spent.seconds * 1000:.3f}"
        raise
    finally:
        _current.reset(token)
