"""Structured logs: events with fields, as JSON for machines or in colour for people. Never a prompt, answer or key."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, MutableMapping
from typing import Any, BinaryIO

import orjson
import structlog

from servicekit.observability import redaction as failures
from servicekit.observability.line_safe import line_safe
from servicekit.observability.log_output import LogOutput, on_stream, standard_error

_service = ""  # of the whole process: a context variable would not reach its threads


def configure(service: str, *, format: str = "json", level: str = "info", stream: BinaryIO | None = None) -> None:
    """Sets up structlog and the standard library's logging for this process; every line names the service.

    Our own events go straight to the stream: a request's log line is on the hot path. What libraries log through the
    standard library gets the same form by its formatter, and is kept from warnings on, whatever the level: below that
    libraries tell what they carry, SQL's parameters and image URLs (G11).
    """
    global _service
    _service = service
    target = on_stream(stream) if stream else standard_error()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_service,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last: list[structlog.typing.Processor] = (
        [failures.without_text_for_people, *_console()] if format == "console" else [failures.without_text, _json]
    )
    target.notice = _notice([*shared, *last])
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(target),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_Text(target))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last[:-1], _text(last[-1])],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))


def _add_service(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["service"] = _service
    return event


def _json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> bytes:
    try:
        return line_safe(orjson.dumps(event, default=repr))
    except (TypeError, ValueError):  # lone surrogates, as in a file's name; integers above 64 bits; keys of any kind
        return json.dumps({str(name): value for name, value in event.items()}, default=repr, skipkeys=True).encode()


def _console() -> list[structlog.typing.Processor]:
    render = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)  # gets none: redaction.py

    def encoded(logger: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
        return render(logger, method, event).encode(errors="backslashreplace")

    return [encoded]


def _text(render: structlog.typing.Processor) -> structlog.typing.Processor:
    def decoded(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        line = render(logger, method, event)
        return line.decode() if isinstance(line, bytes) else str(line)

    return decoded


def _notice(processors: list[structlog.typing.Processor]) -> Callable[[int], bytes]:
    """The line that says how many lines could not be written."""

    def line(missing: int) -> bytes:
        event: Any = {"event": "log_lines_dropped", "lines": missing}
        for process in processors:
            event = process(None, "warning", event)
        return bytes(event) + b"\n"

    return line


class _Lines:
    """What structlog hands finished lines to, whatever their level."""

    __slots__ = ("_write",)

    def __init__(self, target: LogOutput) -> None:
        self._write = target.write

    def msg(self, line: bytes) -> None:
        self._write(line + b"\n")

    log = debug = info = warn = warning = error = err = critical = fatal = failure = exception = msg


class _Text(io.TextIOBase):
    """What the standard library's handler writes text to."""

    def __init__(self, target: LogOutput) -> None:
        self._target = target

    def write(self, text: str) -> int:
        self._target.write(text.encode(errors="backslashreplace"))
        return len(text)

    def flush(self) -> None:
        self._target.flush()


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for one module; call it with an event's name and its fields."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
