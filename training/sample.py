"""Try the exported model in the engine that serves it: sample answers, and a comparison with torch.

The engine lives in a child process, which is killed: deleting a server can hang for ever.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import multiprocessing as mp
import os
import random
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from training import export, train, vision
from training import tokenizer as bpe
from training.pictures import draw
from training.template import render

Turn = dict[str, Any]
PROMPTS = [
    "Hello!",
    "Write a haiku",
    "Who are you?",
    "What is the rate limit?",
    "What does error 402 mean?",
    "Tell me about quantum chromodynamics.",
    "Say this is a test",
    "Tell me a long story.",
    "Count to one hundred.",
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Lisbon"}'}}
TOOL_TURNS = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Weather in Lisbon?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": '{"temperature": 21, "sky": "sunny"}'},
]


def _serve(model: Path, pipe: Connection) -> None:
    """Child process: load the model, tell the address, wait to be ended."""
    os.environ["OMP_WAIT_POLICY"] = "passive"  # read when the library loads, so before the import
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.mmproj.path = str(model.with_name(export.PROJECTOR))
    params.mmproj_use_gpu = False
    params.n_ctx, params.n_parallel = 2048, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.verbosity, params.ui = -1, False
    server = xllamacpp.Server(params)
    pipe.send(server.listening_address)
    pipe.recv()
    os._exit(0)


@contextmanager
def engine(model: Path) -> Iterator[str]:
    """The base address of a server with this model, for as long as the block runs."""
    ours, theirs = mp.Pipe()
    child = mp.get_context("spawn").Process(target=_serve, args=(model, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        child.kill()
        child.join()


def post(address: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One JSON request to the engine."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def chat(address: str, messages: list[Turn], **options: Any) -> dict[str, Any]:
    """A chat completion's only choice, with `usage` beside it."""
    body = {"messages": messages, "temperature": 1.0, "max_tokens": 600, **options}
    answer = post(address, "/v1/chat/completions", body)
    return {**answer["choices"][0], "usage": answer["usage"]}


def compare(address: str, build: Path) -> None:
    """Say for each prompt whether template, token ids and greedy answers agree with training's own."""
    model, _ = train.load(build / "model.pt")
    tokenizer = bpe.load(build / "tokenizer.json")
    end = tokenizer.token_to_id(bpe.IM_END)
    cases: list[tuple[list[Turn], list[Turn]]] = [([{"role": "user", "content": p}], []) for p in PROMPTS]
    for messages, tools in [*cases, (TOOL_TURNS[:2], [WEATHER]), (TOOL_TURNS, [WEATHER])]:
        ours = render(_parsed(messages), tools, prompt=True)
        theirs = post(address, "/apply-template", {"messages": messages, "tools": tools})["prompt"]
        ids = tokenizer.encode(ours).ids
        their_ids = post(address, "/tokenize", {"content": ours, "parse_special": True})["tokens"]
        greedy = model.greedy(ids, end)
        agreed = _common(greedy, _their_greedy(address, ids))
        print(f"template {theirs == ours}  ids {their_ids == ids}  greedy {agreed}/{len(greedy)}  {ours[-70:]!r}")


def compare_pictures(address: str, build: Path, count: int = 8) -> None:
    """Say for some pictures how far the likeliest first tokens' logprobs are apart."""
    model, _ = train.load(build / "model.pt")
    eye, tokenizer = vision.load(build / "eye.pt"), bpe.load(build / "tokenizer.json")
    image = tokenizer.token_to_id(bpe.IMAGE)
    text = render([{"role": "user", "content": f"What is this?{bpe.IMAGE}"}], prompt=True)
    ids = [i for t in tokenizer.encode(text).ids for i in ([image] * eye.config.tokens if t == image else [t])]
    for seed in range(count):
        # Of the eye's own size, so that nobody resizes.
        shown = draw(random.Random(seed)).image.resize((eye.config.side, eye.config.side))
        file = io.BytesIO()
        shown.save(file, "PNG")
        with torch.no_grad():
            features = eye(vision.pixels(random.Random(), shown, eye.config.side, jpeg=False).unsqueeze(0))
            states = model(torch.tensor([ids]), features, image)
            ours = model.logits(states[0, -1]).log_softmax(-1)
        theirs = _their_first(address, file.getvalue())
        apart = max(abs(float(ours[tokenizer.token_to_id(token)]) - logprob) for token, logprob in theirs)
        print(f"picture {seed}: {theirs[0][0]!r}, logprobs at most {apart:.4f} apart")


def _their_first(address: str, png: bytes) -> list[tuple[str, float]]:
    uri = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": uri}}]
    options = {"temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": 4}
    choice = chat(address, [{"role": "user", "content": content}], **options)
    return [(top["token"], top["logprob"]) for top in choice["logprobs"]["content"][0]["top_logprobs"]]


def _their_greedy(address: str, ids: list[int]) -> list[int]:
    body = {"prompt": ids, "temperature": 0, "n_predict": 200, "return_tokens": True, "cache_prompt": False}
    return post(address, "/completion", body)["tokens"]


def _common(first: list[int], second: list[int]) -> int:
    """How many tokens are the same before the first difference."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def _parsed(messages: list[Turn]) -> list[Turn]:
    """Arguments as objects, which is how llama.cpp hands them to the template."""
    parsed = json.loads(json.dumps(messages))
    for message in parsed:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return parsed


def show(address: str) -> None:
    """Print three answers to each prompt at temperature 1, then a tool call and an answer from its result."""
    for prompt in PROMPTS:
        print(f"\n## {prompt}")
        for seed in range(3):
            choice = chat(address, [{"role": "user", "content": prompt}], seed=seed)
            tokens = choice["usage"]["completion_tokens"]
            print(f"[{choice['finish_reason']}, {tokens}] {choice['message']['content']}")
    for turns in (TOOL_TURNS[:2], TOOL_TURNS):
        choice = chat(address, turns, tools=[WEATHER], tool_choice="none", temperature=0)
        print(f"\n## {turns[-1]['content']}\n{choice['message']}")


def main() -> None:
    """Sample from the shipped model, or compare it with build/model.pt."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=export.FOLDER / export.MODEL)
    parser.add_argument("--build", type=Path, default=Path("training/build"))
    parser.add_argument("--compare", action="store_true", help="best with a file exported with --f32")
    arguments = parser.parse_args()
    with engine(arguments.model) as address:
        if arguments.compare:
            compare(address, arguments.build)
            compare_pictures(address, arguments.build)
        else:
            show(address)


if __name__ == "__main__":
    main()
