"""Exceptions are told by kind and place; what they quote stays where it is (G11)."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
import sqlalchemy.exc

from servicekit import crash

SECRET = "a-prompt-or-a-password"


@pytest.fixture
def told() -> Iterator[list[tuple[str, str]]]:
    """What the hooks tell; the ones before are put back."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    heard: list[tuple[str, str]] = []
    crash.install_hooks(lambda what, exception: heard.append((what, exception)))
    yield heard
    sys.excepthook, threading.excepthook, sys.unraisablehook = before


def fail(text: str = SECRET) -> None:
    raise KeyError(text)


def caught(error: Exception) -> Exception:
    with pytest.raises(type(error)) as raised:
        raise error
    return raised.value


def test_kind_and_place_are_told_and_the_text_is_not() -> None:
    with pytest.raises(KeyError) as error:
        fail()
    said = crash.describe(error.value)
    assert "test_crash.py" in said
    assert "in fail" in said
    assert said.endswith("KeyError")
    assert SECRET not in said


def test_causes_and_groups_are_told_without_their_texts() -> None:
    def both() -> None:
        try:
            fail()
        except KeyError as cause:
            raise ExceptionGroup(SECRET, [ValueError(SECRET), OSError(2, SECRET, SECRET)]) from cause

    with pytest.raises(ExceptionGroup) as error:
        both()
    said = crash.describe(error.value)
    assert SECRET not in said
    for kind in ("KeyError", "ExceptionGroup", "ValueError", "FileNotFoundError: [Errno 2] No such file or directory"):
        assert kind in said


def test_a_chain_without_end_is_cut() -> None:
    error: Exception = ValueError(SECRET)
    for _ in range(1000):
        following = ValueError(SECRET)
        following.__cause__ = error
        error = following
    assert len(crash.describe(error)) < 1000


def test_a_databases_error_keeps_its_code() -> None:
    violated = asyncpg.UniqueViolationError(SECRET)
    assert crash.describe(violated) == "asyncpg.exceptions.UniqueViolationError: 23505"
    wrapped = caught(sqlalchemy.exc.IntegrityError(f"INSERT {SECRET}", {"a": SECRET}, violated))
    assert SECRET not in crash.describe(wrapped)


def test_what_a_thread_or_a_destructor_raises_is_told_so(told: list[tuple[str, str]]) -> None:
    class Careless:
        def __del__(self) -> None:
            fail()

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Careless()
    sys.excepthook(*_info())
    assert [what for what, _ in told] == ["thread_failed", "exception_ignored", "process_failed"]
    assert all(said.endswith("KeyError") and SECRET not in said for _, said in told)


async def test_what_only_a_task_or_a_callback_raises_is_told_so(told: list[tuple[str, str]]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(crash.loop_handler(lambda what, exception: told.append((what, exception))))
    loop.call_soon(fail, SECRET)

    async def failing(text: str) -> None:
        fail(text)

    task: Any = asyncio.create_task(failing(SECRET))
    await asyncio.wait({task})
    del task
    await asyncio.sleep(0)
    said = [exception for _, exception in told]
    assert [text.splitlines()[0] for text in said] == [
        "Exception in callback fail",
        "Task exception was never retrieved",
    ]
    assert SECRET not in str(told)


def _info() -> tuple[Any, Any, Any]:
    error = caught(KeyError(SECRET))
    return type(error), error, error.__traceback__
