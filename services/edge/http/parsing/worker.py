"""A process that parses bodies, one after the other, until its socket ends (started by process.py).

It is started with an empty environment and no files but the socket, and it can neither write files nor gain rights.
A body that makes it crash, or take more memory than it may, costs nobody but its sender anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import orjson

from servicekit.process.core_files import forbid_core_files
from servicekit.process.parent_death import die_with_parent
from services.edge.http.errors import ApiError
from services.edge.http.limits import RequestLimits
from services.edge.http.parsing.body_format import BodyFormat, load
from services.edge.http.parsing.frames import ANSWER, JOB, TOO_HEAVY, Outcome

NICENESS = 5  # streams come before bodies that take long
PR_SET_NO_NEW_PRIVS = 38  # prctl(2)


def main() -> None:
    """Arguments: the socket's file descriptor, bytes of memory, the numbers of RequestLimits, names of formats."""
    descriptor, memory, *numbers = (int(argument) for argument in sys.argv[1:6])
    die_with_parent()
    formats = [load(name) for name in sys.argv[6:]]
    confine(memory)
    gc.freeze()
    with socket.socket(fileno=descriptor) as edge:
        edge.sendall(ANSWER.pack(Outcome.ACCEPTED, time.process_time(), 0, 0))  # ready
        serve(edge, RequestLimits(*numbers), formats)


def confine(memory: int) -> None:
    """Gives up what parsing does not need; `memory` in bytes bounds what is allocated."""
    forbid_core_files()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def serve(edge: socket.socket, limits: RequestLimits, formats: Sequence[BodyFormat[Any]]) -> None:
    """Answers jobs until the other end is closed."""
    while header := _receive(edge, JOB.size):
        form, size = JOB.unpack(header)
        body = _receive(edge, size) if size else b""
        if len(body) < size:
            return
        outcome, document, message, seconds = _parse(body, limits, formats[form])
        del body
        edge.sendall(ANSWER.pack(outcome, seconds, len(document), len(message)) + document)
        edge.sendall(message)
        del document, message
        gc.collect()  # what an exception left; everything older is frozen


def _parse(
    body: bytes | bytearray, limits: RequestLimits, form: BodyFormat[Any]
) -> tuple[Outcome, bytes, bytes | bytearray, float]:
    began = time.process_time()
    message: bytes | bytearray = b""
    try:
        document, message = form.pack(form.parse(body, limits))
        outcome = Outcome.ACCEPTED
    except ApiError as error:
        found = {"message": error.message, "param": error.param, "code": error.code}
        outcome, document = Outcome.REJECTED, orjson.dumps(found)
    except MemoryError:
        outcome, document = (
            Outcome.REJECTED,
            orjson.dumps({"message": TOO_HEAVY, "param": None, "code": "body_unreadable"}),
        )
    except Exception as error:  # noqa: BLE001  (reported to the edge, which logs it)
        outcome, document = Outcome.FAILED, orjson.dumps({"error": type(error).__name__})
    return outcome, document, message, time.process_time() - began


def _receive(edge: socket.socket, size: int) -> bytearray:
    """So many bytes; fewer when the other end was closed."""
    data = bytearray(size)
    view = memoryview(data)
    got = 0
    while got < size:
        count = edge.recv_into(view[got:])
        if not count:
            view.release()
            return data[:got]
        got += count
    view.release()
    return data


if __name__ == "__main__":
    main()
