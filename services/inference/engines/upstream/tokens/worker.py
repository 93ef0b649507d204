"""A process that counts, one task after the other, for processes.py.

Reads a line of JSON, {"size": bytes}, and that many bytes of JSON, {"tokenizer": its name or path, "conversation": see
conversation.py}; writes a line of JSON, {"tokens": how many, "estimated": whether a guess is in it} or {"error": one of
a few words}, both with {"seconds": of CPU time}. Its first line is {}: it can work. A separate process, because a long
text takes longer than the event loop may stand still, and a chat template may be made to run forever by what it is
given.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from servicekit.observability import logging
from servicekit.observability import uncaught as last_words
from servicekit.process.parent_death import die_with_parent
from services.inference.engines.upstream.tokens.encodings import BUNDLED, load_encoding
from services.inference.engines.upstream.tokens.openai_framing import frame
from services.inference.engines.upstream.tokens.running_count import count_long
from services.inference.engines.upstream.tokens.template import ChatTemplate, TemplateRefuses, read_template

MEMORY = 1024**3  # bytes of address space


def main() -> None:
    """Works until its input ends or its parent dies."""
    die_with_parent()
    logging.configure("inference")
    last_words.install()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    tasks, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    _say(answers, {})
    while line := tasks.readline():
        task = orjson.loads(tasks.read(json.loads(line)["size"]))
        began = time.process_time()
        answer = _answer(task["tokenizer"], task["conversation"])
        _say(answers, answer | {"seconds": time.process_time() - began})


def _answer(tokenizer: str, conversation: dict[str, Any]) -> dict[str, Any]:
    try:
        return count(tokenizer, conversation)
    except TemplateRefuses:
        return {"error": "template_refuses"}
    except (OSError, ValueError, MemoryError) as error:
        return {"error": type(error).__name__}


def count(tokenizer: str, conversation: dict[str, Any]) -> dict[str, Any]:
    """The prompt's tokens. Raises TemplateRefuses, OSError, ValueError."""
    encoding = load_encoding(tokenizer)
    if tokenizer in BUNDLED:
        framed = frame(conversation, tokenizer)
        tokens = framed.tokens + sum(count_long(encoding, text) for text in framed.texts)
        return {"tokens": tokens, "estimated": framed.estimated}
    text = _template(tokenizer).render(conversation)
    return {"tokens": count_long(encoding, text), "estimated": False}


@lru_cache(maxsize=8)
def _template(tokenizer: str) -> ChatTemplate:
    return ChatTemplate(*read_template(Path(tokenizer)))


def _say(answers: BinaryIO, head: dict[str, object]) -> None:
    answers.write(json.dumps(head).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
