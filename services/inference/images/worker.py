"""A process that decodes images, one after the other, for decoders.py.

Reads a line of JSON, {"size": bytes, "side": pixels, "pixels": the most}, and that many bytes; writes a line of JSON,
{"size": bytes, "width": pixels, "height": pixels} and as many bytes, or {"error": what is wrong}. Its first line is {}:
it can work. A process of its own, because a decoder that a hostile file has caught in a loop can only be killed,
and so that one which it has corrupted holds nothing of other clients.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import BinaryIO

from servicekit import last_words, logging
from services.inference.images.picture import Unusable, rewrite
from services.inference.orphan import die_with_parent

MEMORY = 2 * 1024**3  # bytes of address space


def main() -> None:
    """Works until its input ends or its parent dies."""
    die_with_parent()
    logging.configure("inference")
    last_words.install()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    files, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    _say(answers, {})
    while line := files.readline():
        task = json.loads(line)
        try:
            written = rewrite(files.read(task["size"]), task["side"], task["pixels"])
        except Unusable as error:
            _say(answers, {"error": str(error)})
            continue
        _say(answers, {"size": len(written.jpeg), "width": written.width, "height": written.height}, written.jpeg)


def _say(answers: BinaryIO, head: dict[str, object], content: bytes = b"") -> None:
    answers.write(json.dumps(head).encode() + b"\n" + content)
    answers.flush()


if __name__ == "__main__":
    main()
