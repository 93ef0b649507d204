"""The worker process: llama.cpp's server around one model file, on a loopback port whose key only its parent knows.

Started by process.py with one line of JSON on standard input. Says one line of JSON on standard
output, {"address": ...} or {"error": "import" | "model", "detail": ...}, and lives until its input ends: then, or when
its parent dies in any other way, it exits at once. A process of its own, because llama.cpp holds the interpreter's lock
while it loads, can hang for ever when it is taken down, and can crash (docs/engine.md).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO

from servicekit.observability import logging
from servicekit.observability import uncaught as last_words
from servicekit.process.parent_death import die_with_parent


def main() -> None:
    """Serves until the parent goes."""
    die_with_parent()
    logging.configure("inference")
    last_words.install()
    say = _take_output()
    config = json.loads(sys.stdin.readline())
    # llama.cpp's idle threads spin otherwise, and take the cores from the other services (docs/engine.md).
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ["LLAMA_MEDIA_MARKER"] = config["media_marker"]
    try:
        import xllamacpp
    except ImportError as error:
        _say_and_exit(say, {"error": "import", "detail": str(error)})
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, config))
    except RuntimeError as error:
        _say_and_exit(say, {"error": "model", "detail": str(error)})
    _say(say, {"address": server.listening_address})
    sys.stdin.read()
    os._exit(0)  # the server's destructor can hang (docs/engine.md)


def _parameters(xllamacpp: Any, config: dict[str, Any]) -> Any:
    p = xllamacpp.CommonParams()
    p.model.path = config["file"]
    if config["projector"]:
        p.mmproj.path = config["projector"]
        p.mmproj_use_gpu = False
    p.n_ctx = config["context_length"] * config["slots"]  # split over the slots
    p.n_parallel = config["slots"]
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = config["threads"]
    p.n_batch = 512  # a long prompt is read in pieces, between which the other slots go on
    p.n_threads_http = config["http_threads"]
    p.cache_ram_mib = config["prompt_cache_mib"]
    p.api_keys = [config["key"]]
    p.port = 0
    p.fit_params = False  # would shrink the context silently on a machine with little memory
    p.ctx_shift = False  # would forget the start of a conversation silently
    p.prefill_assistant = False  # a last message of the assistant is a turn, not the beginning of the answer
    p.endpoint_slots = False  # would show prompts
    p.endpoint_metrics = True  # answered by the loop that generates: the watchdog's question
    p.ui = False
    p.verbosity = -1  # its log would hold prompts
    return p


def _take_output() -> TextIO:
    """Standard output for our own lines only: whatever else is printed goes to standard error."""
    ours = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return ours


def _say(output: TextIO, message: dict[str, str]) -> None:
    output.write(json.dumps(message) + "\n")
    output.flush()


def _say_and_exit(output: TextIO, message: dict[str, str]) -> None:
    _say(output, message)
    os._exit(1)


if __name__ == "__main__":
    main()
