"""What the edge and its parser processes say to each other over a socket.

A job is its header and the body. An answer is its header, a JSON document and, for a body that was accepted, the
serialised work message (both as its BodyFormat packs them).
"""

from __future__ import annotations

import struct
from enum import IntEnum

JOB = struct.Struct("<BI")  # which of the formats that the process was started with, bytes of the body
ANSWER = struct.Struct("<BdII")  # Outcome, seconds of CPU, bytes of the document, bytes of the message
TOO_HEAVY = "The request body takes too much time or memory to read. Send less."


class Outcome(IntEnum):
    """How a body was found."""

    ACCEPTED = 0  # the document is the format's
    REJECTED = 1  # the document: message, param and code of the 400
    FAILED = 2  # an error of the parser; the document: where it was
