"""A process that decodes images, one after the other, for decoders.py.

Its one argument is the memory that it may have, in bytes. Reads a line of JSON, {"size": bytes, "side": pixels,
"pixels": the most}, and that many bytes; writes a line of JSON, {"size": bytes, "width": pixels, "height": pixels} and
as many bytes, or {"error": what is wrong}. Its first line is {"confined": whether the kernel refuses it whatever it
does not need}: it can work. A process of its own, because a decoder that a hostile file has caught in a loop can only
be killed, and so that one which it has corrupted holds nothing of other clients and can do nothing (confinement.py).
"""

from __future__ import annotations

import io
import json
import sys
from typing import BinaryIO

from PIL import Image

from servicekit.observability import logging
from servicekit.observability import uncaught as last_words
from servicekit.process.parent_death import die_with_parent
from services.inference.images.confinement import confine
from services.inference.images.picture import FORMATS, Unusable, rewrite

WARM_UP_SIDE = 32  # pixels


def main() -> None:
    """Works until its input ends or its parent dies."""
    die_with_parent()
    logging.configure("inference")
    last_words.install()
    files, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    _warm_up()
    _say(answers, {"confined": confine(int(sys.argv[1]))})
    while line := files.readline():
        task = json.loads(line)
        try:
            written = rewrite(files.read(task["size"]), task["side"], task["pixels"])
        except Unusable as error:
            _say(answers, {"error": str(error)})
            continue
        _say(answers, {"size": len(written.jpeg), "width": written.width, "height": written.height}, written.jpeg)


def _warm_up() -> None:
    """Whatever Python imports only when it is first used: afterwards no file can be opened."""
    Image.init()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    for mode in ("RGB", "RGBA", "P", "I;16", "1", "LA", "CMYK"):
        image = Image.new(mode, (4 * WARM_UP_SIDE, 4 * WARM_UP_SIDE))
        for kind in FORMATS:
            file = io.BytesIO()
            try:
                image.save(file, kind, exif=exif)
            except (OSError, ValueError, KeyError):  # a kind that knows no such mode
                continue
            rewrite(file.getvalue(), WARM_UP_SIDE, 1_000_000)
            for damaged in (file.getvalue()[:100], file.getvalue()[:-20]):
                try:
                    rewrite(damaged, WARM_UP_SIDE, 1_000_000)
                except Unusable:
                    continue


def _say(answers: BinaryIO, head: dict[str, object], content: bytes = b"") -> None:
    answers.write(json.dumps(head).encode() + b"\n" + content)
    answers.flush()


if __name__ == "__main__":
    main()
