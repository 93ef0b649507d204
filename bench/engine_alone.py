"""xllamacpp without anything of ours: the baseline of bench/engine.py, which starts it as a process.

Reads one line of JSON (file, context, slots, threads) and says one ({"address", "pid"}). Then its HTTP port is used
from outside, or for each line that it reads, a list of chat requests, it generates them all at once through
handle_chat_completions and says how many tokens came and how many CPU seconds that took. Ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "passive"

import xllamacpp


def serve(config: dict[str, Any]) -> Any:
    """llama.cpp's server with the settings that both sides share; all else is as xllamacpp has it."""
    p = xllamacpp.CommonParams()
    p.model.path = config["file"]
    p.n_ctx = config["context"] * config["slots"]
    p.n_parallel = config["slots"]
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = config["threads"]
    p.n_threads_http = config["slots"] + 8
    p.port = 0
    p.fit_params = False
    p.verbosity = -1
    return xllamacpp.Server(p)


def embedded(server: Any, bodies: list[dict[str, Any]]) -> dict[str, float]:
    """These requests through handle_chat_completions at once, a thread each."""
    counts = [0] * len(bodies)

    def one(number: int) -> None:
        def take(chunk: Any) -> bool:
            event = chunk if isinstance(chunk, dict) else json.loads(chunk)
            for each in event if isinstance(event, list) else [event]:
                counts[number] = (each.get("usage") or {}).get("completion_tokens", counts[number])
            return False

        server.handle_chat_completions(bodies[number], take)

    before = time.process_time()
    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"tokens": sum(counts), "cpu": time.process_time() - before}


def main() -> None:
    server = serve(json.loads(sys.stdin.readline()))
    print(json.dumps({"address": server.listening_address, "pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(embedded(server, json.loads(line))), flush=True)
    os._exit(0)  # its destructor can hang (docs/engine.md)


if __name__ == "__main__":
    main()
