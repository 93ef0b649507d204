"""Where log lines go: whatever happens to the output, whoever logs goes on, and what is missing is reported."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servicekit.observability.log_output import on_descriptor

LINE = b'{"event":"a line"}\n'


def notice(missing: int) -> bytes:
    return b"%d are missing\n" % missing


@contextmanager
def opened(path: Path | str, flags: int = os.O_WRONLY | os.O_CREAT | os.O_APPEND) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_full_disk_costs_the_line_and_nothing_else() -> None:
    with opened("/dev/full", os.O_WRONLY) as full:
        output = on_descriptor(full)
        assert output.write(LINE) == len(LINE)
        assert output.dropped == 1


def test_a_closed_descriptor_and_one_for_reading_cost_the_line(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with opened(tmp_path / "log", os.O_RDONLY) as unwritable:
        output = on_descriptor(unwritable)
        output.write(LINE)
        assert output.dropped == 1
    output.write(LINE)  # closed by now
    assert output.dropped == 2


def test_a_reader_that_has_gone_costs_the_line() -> None:
    reader, writer = os.pipe()
    output = on_descriptor(writer)
    os.close(reader)
    output.write(LINE)
    assert output.dropped == 1
    os.close(writer)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_that_stands_still_blocks_nobody_and_gets_its_lines_in_order_later(kind: str) -> None:
    if kind == "pipe":
        reader, writer = os.pipe()
    else:
        reader, writer = (end.detach() for end in socket.socketpair())
    output = on_descriptor(writer)
    output.notice = notice
    lines = [b"%06d " % number + b"x" * 500 + b"\n" for number in range(8000)]
    began = time.monotonic()
    for line in lines:
        output.write(line)
    assert time.monotonic() - began < 2
    assert 0 < output.dropped < len(lines)
    assert os.get_blocking(writer)  # whoever shares it finds it as it was
    got = b""
    while b"are missing" not in got:
        got += os.read(reader, 65536)
    whole = [line for line in got.splitlines(keepends=True) if line[:6].isdigit() and len(line) == len(lines[0])]
    assert whole == lines[: len(whole)]
    assert len(whole) + output.dropped == len(lines)
    os.close(reader)
    os.close(writer)


def test_when_lines_can_be_written_again_it_says_how_many_are_missing(tmp_path: Path) -> None:
    program = f"""
        import json, os, resource, signal
        from servicekit.observability.log_output import standard_error
        from servicekit.observability.logging import configure, get_logger
        configure("auth")
        log = get_logger("a")
        log.info("before")
        size = os.fstat(2).st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, {resource.RLIM_INFINITY}))
        log.info("lost", text="x" * 100)
        log.info("lost too")
        assert standard_error().dropped == 2
        resource.setrlimit(resource.RLIMIT_FSIZE, ({resource.RLIM_INFINITY}, {resource.RLIM_INFINITY}))
        log.info("after")
    """
    with (tmp_path / "log").open("ab") as log:
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], stderr=log, check=False)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    before, torn, *rest = (tmp_path / "log").read_text().splitlines()
    after, dropped = map(json.loads, rest)
    assert json.loads(before)["event"] == "before"
    assert len(torn) == 10
    assert after["event"] == "after"
    assert (dropped["event"], dropped["lines"], dropped["service"]) == ("log_lines_dropped", 2, "auth")


@pytest.mark.parametrize("format", ["json", "console"])
def test_fields_that_no_encoding_has_are_logged_and_raise_nothing(tmp_path: Path, format: str) -> None:
    program = f"""
        import logging
        from servicekit.observability.logging import configure, get_logger
        configure("auth", format="{format}")
        get_logger("a").info("odd", name="\\udcff", number=2**70, table={{(1, 2): 3}})
        logging.getLogger("library").warning("odd too \\udcff")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Logging error" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_no_file_takes_the_number_of_a_stream_that_was_closed(tmp_path: Path) -> None:
    program = f"""
        import servicekit, os, sys
        os.open({str(tmp_path / "data")!r}, os.O_RDWR | os.O_CREAT)
        print("for nobody", flush=True)
        print("for nobody", file=sys.stderr, flush=True)
        for number in (1, 2):
            try:
                os.write(number, b"for nobody")
            except OSError:
                continue
            sys.exit(9)
        sys.exit(7)
    """
    command = f"exec {sys.executable} -c '{textwrap.dedent(program).replace(chr(39), chr(34))}' <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", command], check=False)
    assert done.returncode == 7
    assert (tmp_path / "data").read_bytes() == b""


def test_dropped_lines_are_counted() -> None:
    program = """
        import time
        from prometheus_client import REGISTRY
        from servicekit.observability import metrics
        from servicekit.observability.logging import configure, get_logger
        configure("auth")
        get_logger("a").info("lost")
        deadline = time.monotonic() + 20
        while REGISTRY.get_sample_value("muhgpt_log_lines_dropped_total") != 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        print(REGISTRY.get_sample_value("muhgpt_log_lines_dropped_total"))
    """
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, timeout=60, check=False)
    assert done.stdout == b"1.0\n"
