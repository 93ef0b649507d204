"""Log lines: one JSON document each, ours and the libraries' alike, without variables of a stack."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from servicekit.observability.logging import configure, get_logger


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield io.BytesIO()
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_service_time_and_fields(stream: io.BytesIO) -> None:
    configure("quota", stream=stream)
    get_logger("a").info("hold_settled", request_id="r", credits=7, odd=object)
    (line,) = lines(stream)
    assert (line["event"], line["service"], line["level"], line["credits"]) == ("hold_settled", "quota", "info", 7)
    assert line["time"].endswith("Z")


def test_a_librarys_line_has_the_same_form(stream: io.BytesIO) -> None:
    configure("quota", stream=stream)
    logging.getLogger("library").warning("something %s", "odd")
    (line,) = lines(stream)
    assert (line["event"], line["service"], line["level"]) == ("something odd", "quota", "warning")


def test_levels_below_the_chosen_one_are_left_out(stream: io.BytesIO) -> None:
    configure("quota", level="warning", stream=stream)
    get_logger("b").info("quiet")
    logging.getLogger("library").info("quiet")
    assert stream.getvalue() == b""


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_stack_trace_shows_neither_variables_nor_the_exceptions_text(stream: io.BytesIO, format: str) -> None:
    configure("quota", format=format, stream=stream)
    secret, prompt = "mghp_" + "x" * 36, "a prompt"
    try:
        raise ValueError(prompt, len(secret))
    except ValueError:
        get_logger("c").exception("failed")
        logging.getLogger("library").exception("failed too")
    logged = stream.getvalue().decode()
    assert logged.count("ValueError") == 2
    assert logged.count("test_logging.py") == 2
    assert secret not in logged
    assert prompt not in logged


@pytest.mark.parametrize("format", ["json", "console"])
def test_an_exception_is_told_by_kind_and_place_and_never_by_its_text(stream: io.BytesIO, format: str) -> None:
    configure("quota", format=format, stream=stream)
    try:
        try:
            raise KeyError("canary-cause")
        except KeyError as cause:
            raise ConnectionResetError(errno.ECONNRESET, "canary-text") from cause
    except OSError:
        get_logger("d").exception("failed")
        logging.getLogger("library").exception("failed")
    logged = stream.getvalue().decode()
    assert "canary" not in logged
    for told in ("ConnectionResetError", "ECONNRESET", "KeyError", "test_logging.py"):
        assert logged.count(told) >= 2


def test_an_exception_group_tells_its_members(stream: io.BytesIO) -> None:
    configure("quota", stream=stream)
    get_logger("e").error("failed", exc_info=ExceptionGroup("canary", [ValueError("canary"), KeyError("canary")]))
    (line,) = lines(stream)
    assert [each["type"] for each in line["exception"]] == ["ExceptionGroup", "ValueError", "KeyError"]
    assert "canary" not in stream.getvalue().decode()


def test_what_libraries_say_below_a_warning_is_left_out_at_every_level(stream: io.BytesIO) -> None:
    configure("quota", level="debug", stream=stream)
    logging.getLogger("sqlalchemy.engine.Engine").info("INSERT INTO accounts VALUES ('canary')")
    logging.getLogger("aiosqlite").debug("executing canary")
    assert stream.getvalue() == b""
