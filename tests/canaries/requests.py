"""Requests that carry canaries wherever a client can put something, and the status that each must get."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.pictures import data_uri, picture, written

RED = written(picture("red"))


@dataclass
class Ask:
    """One request. `mark` is this client's own canary."""

    name: str
    expected: set[int]
    mark: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    path: str = "/v1/chat/completions"
    key: str | None = None  # None: no Authorization of ours


def chat(mark: str, content: Any = None, **fields: Any) -> bytes:
    """A request with the canary in everything that is free text."""
    said = f"tell me of {mark}" if content is None else content
    return json.dumps(
        {
            "model": "muh-chat",
            "messages": [{"role": "system", "content": f"You are {mark}."}, {"role": "user", "content": said}],
            "max_tokens": 4,
            "user": mark,
            "metadata": {"note": mark},
            **fields,
        }
    ).encode()


def tools(mark: str) -> dict[str, Any]:
    """Tools, and a conversation that has called one."""
    schema = {"type": "object", "properties": {mark: {"type": "string", "description": mark}}, "required": [mark]}
    call = {"id": mark, "type": "function", "function": {"name": "look", "arguments": json.dumps({mark: mark})}}
    return {
        "tools": [{"type": "function", "function": {"name": "look", "description": mark, "parameters": schema}}],
        "messages": [
            {"role": "user", "content": mark},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": mark, "content": mark},
        ],
    }


def image(url: str) -> list[dict[str, Any]]:
    """The parts of a message with an image."""
    return [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]


def asks(plant: Callable[[str], str], keys: dict[str, str], site: str) -> Iterator[Ask]:
    """All of them; `keys` are API keys by what is special about them."""

    def one(name: str, expected: int | set[int], make: Callable[[str], bytes], **more: Any) -> Ask:
        mark = plant(name)
        wanted = {expected} if isinstance(expected, int) else expected
        more.setdefault("key", keys["good"])
        headers = {
            "content-type": "application/json",
            "user-agent": mark,
            "referer": f"http://{mark}/",
            "cookie": f"a={mark}",
            "x-forwarded-for": mark,
            "x-api-key": mark,
            "traceparent": f"00-{mark}",
            "tracestate": f"a={mark}",
            "baggage": f"a={mark}",
            **{name: value.replace("MARK", mark) for name, value in more.pop("headers", {}).items()},
        }
        more["path"] = more.get("path", "/v1/chat/completions").replace("MARK", mark)
        return Ask(name, wanted, mark, make(mark), headers, **more)

    yield one("prompt", 200, chat)
    yield one("streamed prompt", 200, lambda m: chat(m, stream=True))
    yield one("tools", 200, lambda m: chat(m, **tools(m)))
    yield one("schema", 200, lambda m: chat(m, response_format=_schema(m)))
    yield one("upstream", 200, lambda m: chat(m, model="muh-upstream"))
    yield one("image", 200, lambda m: chat(m, image(data_uri(RED))))
    yield one("image by URL", 200, lambda m: chat(m, image(f"{site}/red.png?{m}")))
    yield from _bad_requests(one, site)
    yield from _refused(one, keys)
    for word in ("echo-400", "echo-401", "echo-500", "echo-html", "echo-broken", "echo-mid", "echo-odd"):
        for streamed in (False, True):
            yield one(
                f"upstream {word} {streamed}",
                {400, 502, 503, 200 if streamed else 502},
                lambda m, word=word, streamed=streamed: chat(m, f"{word} {m}", model="muh-upstream", stream=streamed),
            )
    yield one("defect in the edge", 500, lambda m: chat(m, f"break-edge {m}"))
    yield one("defect in inference", {500, 502}, lambda m: chat(m, f"break-inference {m}"))
    large = "break-inference " + "x" * 300_000
    yield one("defect in inference, large", {500, 502}, lambda m: chat(m, f"{large} {m}"))


def _schema(mark: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {mark: {"type": "string"}}, "required": [mark]}
    return {"type": "json_schema", "json_schema": {"name": mark, "schema": schema, "description": mark}}


def _bad_requests(one: Callable[..., Ask], site: str) -> Iterator[Ask]:
    yield one("no JSON", 400, lambda m: f'{{"model": "{m}'.encode())
    yield one("no UTF-8", 400, lambda m: f'{{"model": "{m}'.encode() + b'\xff\xfe"}')
    yield one("a list", 400, lambda m: json.dumps([m]).encode())
    yield one("messages of a wrong type", 400, lambda m: chat(m, messages=m))
    yield one("a role that is none", 400, lambda m: chat(m, messages=[{"role": m, "content": m}]))
    yield one("a number that is none", 400, lambda m: chat(m, temperature=m))
    yield one("out of range", 400, lambda m: chat(m, temperature=99))
    yield one("a bias for no token", 400, lambda m: chat(m, logit_bias={m: 1}))
    yield one("a schema that is none", 400, lambda m: chat(m, response_format=_bad_schema(m)))
    yield one("a tool of no name", 400, lambda m: chat(m, tools=[{"type": "function", "function": {"name": f"{m} !"}}]))
    yield one("a choice of no tool", 400, lambda m: chat(m, tool_choice={"type": "function", "function": {"name": m}}))
    yield one("too long", 400, lambda m: chat(m, f"{m} " * 4000))
    yield one("an image for the blind", 400, lambda m: chat(m, image(f"{site}/{m}"), model="muh-blind"))
    yield one("an image that is none", 400, lambda m: chat(m, image("data:image/png;base64," + _base64(m))))
    yield one("an image in no base64", 400, lambda m: chat(m, image(f"data:image/png;base64,!{m}")))
    yield one("an image by a wrong scheme", 400, lambda m: chat(m, image(f"file:///{m}")))
    yield one("an image inside", 400, lambda m: chat(m, image(f"http://user:{m}@127.0.0.2/{m}")))
    yield one("an image of no host", 400, lambda m: chat(m, image(f"http://{m}.invalid/{m}")))
    yield one("an image that is not there", 400, lambda m: chat(m, image(f"{site}/{m}")))
    yield one("text for an image", 400, lambda m: chat(m, image(f"{site}/text.png?{m}")))
    yield one("a damaged image", 400, lambda m: chat(m, image("data:image/png;base64," + _base64(m, RED))))


def _bad_schema(mark: str) -> dict[str, Any]:
    schema = {"type": mark, "$ref": f"#/{mark}", "pattern": f"({mark}"}
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}


def _base64(mark: str, before: bytes = b"") -> str:
    return base64.b64encode(before[: len(before) // 2] + mark.encode()).decode()


def _refused(one: Callable[..., Ask], keys: dict[str, str]) -> Iterator[Ask]:
    yield one("no key", 401, chat, key=None)
    for kind in ("revoked", "unknown", "mistyped"):
        yield one(f"{kind} key", 401, chat, key=keys[kind])
    yield one("a key that is none", 401, chat, key=None, headers={"authorization": "Bearer mghp_MARK"})
    yield one("another scheme", 401, chat, key=None, headers={"authorization": "Basic MARK"})
    yield one("no credits", 402, chat, key=keys["poor"])
    yield one("a model that the key may not use", 403, chat, key=keys["bound"])
    yield one("a model that is none", 404, lambda m: chat(m, model=m))
    yield one("a path that is none", 404, lambda m: b"", method="GET", path="/v1/MARK?key=MARK")
    yield one("a path outside", 404, lambda m: b"", method="GET", path="/MARK")
    yield one("a model by name", 404, lambda m: b"", method="GET", path="/v1/models/MARK")
    yield one("a day that is none", 400, lambda m: b"", method="GET", path="/v1/usage?start=MARK&end=MARK")
    yield one("a charge that is none", {400, 404}, lambda m: b"", method="GET", path="/v1/usage/charges?after=MARK")
    yield one("a method that is none", 405, chat, method="PUT")
    yield one("too large", 413, lambda m: chat(m, f"{m} " * 200_000))
    yield one("no JSON by type", 415, chat, headers={"content-type": "text/MARK"})
    yield one("compressed", 415, chat, headers={"content-encoding": "gzip"})
    yield one("limited", 200, chat, key=keys["limited"])
    yield one("limited again", 429, chat, key=keys["limited"])
    yield one("a large header", 431, chat, headers={"x-large": "MARK" * 8000})


def send(client: httpx.Client, ask: Ask) -> httpx.Response:
    """The whole answer."""
    headers = dict(ask.headers)
    if ask.key is not None:
        headers["authorization"] = f"Bearer {ask.key}"
    return client.request(ask.method, ask.path, content=ask.body, headers=headers)
