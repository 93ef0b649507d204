"""Requests full of canaries, one for each way through the platform, and what each must be answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL.PngImagePlugin import PngInfo

from tests.canary_words import Canaries
from tests.e2e.privacy_upstream import ERRORS
from tests.pictures import data_uri, picture, written

Word = Callable[[str], str]
Body = dict[str, Any]
Change = Callable[[Body, Word], Body | bytes | None]
COMPLETIONS = "/v1/chat/completions"


@dataclass
class Case:
    """A request. `change` makes the full body into the one that is sent, raw bytes if it likes."""

    name: str
    status: int
    change: Change = lambda body, word: body
    method: str = "POST"
    path: str = COMPLETIONS
    headers: dict[str, str] = field(default_factory=dict)
    whose: str = "sound"  # which of the callers sends it
    code: str | None = None  # of the error


def full_body(word: Word) -> Body:
    """A body with a canary in every field that takes text."""
    call_id = word("tool call id")
    parameters = {
        "type": "object",
        "description": word("schema description"),
        "properties": {
            "town": {"type": "string", "description": word("property description")},
            "kind": {"enum": [word("enum value"), "b"]},
        },
        "required": ["town"],
    }
    function = {"name": word("tool name"), "description": word("tool description"), "parameters": parameters}
    called = {"name": word("called name"), "arguments": json.dumps({"town": word("tool argument")})}
    return {
        "model": "muh-chat",
        "max_tokens": 8,
        "messages": [
            {"role": "system", "content": word("system message"), "name": word("name of a message")},
            {"role": "user", "content": word("earlier prompt")},
            {
                "role": "assistant",
                "content": word("assistant turn"),
                "tool_calls": [{"id": call_id, "type": "function", "function": called}],
            },
            {"role": "tool", "tool_call_id": call_id, "content": word("tool result")},
            {"role": "user", "content": [{"type": "text", "text": word("prompt")}]},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "none",
        "stop": [word("stop sequence")],
        "user": word("user field"),
        "safety_identifier": word("safety identifier"),
        "prompt_cache_key": word("cache key"),
        "metadata": {word("metadata name"): word("metadata value")},
        "prediction": {"type": "content", "content": word("prediction")},
        word("unknown field"): word("unknown value"),
    }


def full_headers(word: Word) -> dict[str, str]:
    """Headers that a proxy or a curious client may send. `x-client-request-id` is logged by promise (docs/wire.md)."""
    names = ("user-agent", "cookie", "referer", "x-forwarded-for", "x-request-id", "openai-organization", "baggage")
    more = ("traceparent", "tracestate", "x-api-key", "api-key", "proxy-authorization", "idempotency-key", "from")
    return {name: word(f"header {name}") for name in (*names, *more)} | {word("header's name"): "x"}


def _with(**fields: Any) -> Callable[[Body, Word], Body]:
    return lambda body, word: {**body, **fields}


def _without(*names: str, **fields: Any) -> Callable[[Body, Word], Body]:
    return lambda body, word: {name: value for name, value in body.items() if name not in names} | fields


def _schema(body: Body, word: Word) -> Body:
    schema = {"type": "object", "properties": {"a": {"enum": [word("schema value")]}}, "required": ["a"]}
    form = {"name": word("schema name"), "schema": {**schema, "additionalProperties": False}, "strict": True}
    return _without("tools", "tool_choice", response_format={"type": "json_schema", "json_schema": form})(body, word)


def _bad_schema(keyword: str) -> Callable[[Body, Word], Body]:
    def change(body: Body, word: Word) -> Body:
        schema = {"type": "object", "properties": {word("property name"): {keyword: word("schema value")}}}
        form = {"name": "answer", "schema": schema, "strict": True}
        form_field = {"response_format": {"type": "json_schema", "json_schema": form}}
        return _without("tools", "tool_choice", **form_field)(body, word)

    return change


def _message(**fields: Any) -> Callable[[Body, Word], Body]:
    """One more message, whose values may be asked for by name: "=prompt" is a canary."""

    def change(body: Body, word: Word) -> Body:
        made = {name: word(value[1:]) if str(value).startswith("=") else value for name, value in fields.items()}
        return {**body, "messages": [*body["messages"], made]}

    return change


def _field(name: str, value: Callable[[Word], Any]) -> Callable[[Body, Word], Body]:
    return lambda body, word: {**body, name: value(word)}


def _image(make: Callable[[Word], str]) -> Callable[[Body, Word], Body]:
    def change(body: Body, word: Word) -> Body:
        part = {"type": "image_url", "image_url": {"url": make(word)}}
        body["messages"][-1]["content"].append(part)
        return _without("tools", "tool_choice")(body, word)

    return change


def picture_with_text(text: str) -> str:
    """A picture that carries text, as cameras' do."""
    info = PngInfo()
    info.add_text("Comment", text)
    return data_uri(written(picture(), pnginfo=info))


def _png(word: Word) -> str:
    return picture_with_text(word("image text"))


def long_answer(body: Body, word: Word) -> Body:
    """A stream that does not end by itself before something happens to it."""
    kept = {name: body[name] for name in ("model", "messages", "user")}
    return {**kept, "stream": True, "max_tokens": 1900, "logit_bias": {"2": -100}}


def _required(body: Body, word: Word) -> Body:
    return {**body, "tool_choice": "required", "max_tokens": 60}


ANSWERED = [
    Case("whole", 200),
    Case("streamed", 200, _with(stream=True)),
    Case("several choices", 200, _with(n=2, logprobs=True, top_logprobs=2)),
    Case("tool call", 200, _required),
    Case("tool call streamed", 200, lambda body, word: {**_required(body, word), "stream": True}),
    Case("JSON mode", 200, _without("tools", "tool_choice", response_format={"type": "json_object"})),
    Case("schema", 200, _schema),
    Case("image", 200, _image(_png)),
    Case("image streamed", 200, lambda body, word: {**_image(_png)(body, word), "stream": True}),
    Case("models", 200, lambda body, word: None, "GET", "/v1/models?secret={query}"),
    Case("usage", 200, lambda body, word: None, "GET", "/v1/usage?secret={query}"),
    Case("charges", 200, lambda body, word: None, "GET", "/v1/usage/charges?secret={query}"),
    Case("query string", 200, path=COMPLETIONS + "?api_key={query}&prompt={query}"),
    Case("upstream", 200, _with(model="whole")),
    Case("upstream streamed", 200, _with(model="whole", stream=True)),
    Case("upstream's tool call", 200, _with(model="call")),
]

REFUSED = [
    Case("malformed JSON", 400, lambda body, word: json.dumps(body).encode()[:-1] + word("tail").encode()),
    Case("no JSON at all", 400, lambda body, word: word("prompt").encode()),
    Case("bytes", 400, lambda body, word: b"\xff\xfe" + word("prompt").encode("utf-16")),
    Case("a list", 400, lambda body, word: json.dumps([word("prompt")]).encode()),
    Case("a string", 400, lambda body, word: json.dumps(word("prompt")).encode()),
    Case("wrong type of messages", 400, _field("messages", lambda word: word("messages"))),
    Case("wrong type of a number", 400, _field("temperature", lambda word: word("temperature"))),
    Case("wrong type of stop", 400, _field("stop", lambda word: {"x": word("stop")})),
    Case("wrong type of user", 400, _field("user", lambda word: [word("user")])),
    Case("too many stops", 400, _field("stop", lambda word: [word("stop")] * 5)),
    Case("metadata too long", 400, _field("metadata", lambda word: {"a": word("metadata") * 20})),
    Case("a name too long", 400, _field("metadata", lambda word: {word("field name") * 9: "a"})),
    Case("logit bias", 400, _field("logit_bias", lambda word: {word("field name"): 1})),
    Case("tool choice", 400, _field("tool_choice", lambda word: word("tool choice"))),
    Case(
        "unknown tool chosen",
        400,
        _field("tool_choice", lambda word: {"type": "function", "function": {"name": word("tool choice")}}),
    ),
    Case("tool name", 400, _field("tools", lambda w: [{"type": "function", "function": {"name": w("tool") + " "}}])),
    Case("out of range", 400, _with(temperature=3)),
    Case("unknown role", 400, _message(role="=role", content="=prompt")),
    Case("unknown part", 400, _field("messages", lambda w: [{"role": "user", "content": [{"type": w("type")}]}])),
    Case("wrong part", 400, _field("messages", lambda w: [{"role": "user", "content": [w("prompt")]}])),
    Case("a tool's answer without a call", 400, _message(role="tool", tool_call_id="=call id", content="=prompt")),
    Case("an old function call", 400, _field("function_call", lambda word: {"name": word("function")})),
    Case("a bad schema", 400, _bad_schema("not")),
    Case("an unknown type in a schema", 400, _bad_schema("type")),
    Case("a bad reference in a schema", 400, _bad_schema("$ref")),
    Case("an overlong prompt", 400, _message(role="user", content="one two " * 3000), code="context_length_exceeded"),
    Case("an image for the blind", 400, lambda b, w: {**_image(_png)(b, w), "model": "muh-blind"}),
    Case("an image's scheme", 400, _image(lambda word: f"ftp://{word('image url')}/")),
    Case("no URL", 400, _image(lambda word: word("image url"))),
    Case("an image that is none", 400, _image(lambda word: data_uri(word("image data").encode()))),
    Case("damaged base64", 400, _image(lambda word: f"data:image/png;base64,{word('image data')}!")),
    Case(
        "a damaged picture",
        400,
        _image(lambda word: data_uri(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + word("image data").encode())),
    ),
    Case("an image's unknown host", 400, _image(lambda word: f"http://{word('image host')}.invalid/")),
    Case("an image inside", 400, _image(lambda word: f"http://127.0.0.1:1/{word('image path')}?{word('image query')}")),
    Case("an image's user", 400, _image(lambda word: f"http://{word('image user')}:{word('image password')}@e.com/")),
    Case("an image from the site", 400, _image(lambda word: f"{{site}}/{word('image path')}")),
    Case("a redirected image", 400, _image(lambda word: f"{{site}}/redirect/{word('image path')}")),
    Case("days", 400, lambda body, word: None, "GET", "/v1/usage?days={query}"),
    Case("a cursor", 400, lambda body, word: None, "GET", "/v1/usage/charges?after={query}"),
    Case("no key", 401, whose="nobody"),
    Case("a revoked key", 401, whose="revoked"),
    Case("a suspended account's key", 401, whose="suspended"),
    Case("a mistyped key", 401, whose="mistyped"),
    Case("an unknown key", 401, whose="unknown"),
    Case("another provider's key", 401, whose="stranger"),
    Case("a password", 401, whose="basic"),
    Case("no credits", 402, whose="poor", code="insufficient_credits"),
    Case("a key's limit", 402, whose="limited", code="key_limit_reached"),
    Case("the limit's last", 200, whose="slow"),
    Case("a request too many", 429, whose="slow"),
    Case("another model than the key's", 403, _with(model="muh-blind"), whose="narrow"),
    Case("unknown model", 404, lambda body, word: {**body, "model": word("model")}),
    Case("unknown route", 404, lambda body, word: None, "GET", "/v1/{path}?secret={query}"),
    Case("unknown model's page", 404, lambda body, word: None, "GET", "/v1/models/{path}"),
    Case("another method", 405, method="PUT"),
    Case("too large", 413, lambda body, word: word("prompt").encode() * 700_000),
    Case("no content type", 415, headers={"content-type": "text/plain"}),
    Case("compressed", 415, headers={"content-encoding": "gzip"}),
    Case("header too large", 431, headers={"x-large": "{header}"}),
]

UPSTREAMS = [
    Case("the upstream's 400", 400, _with(model="status-400")),
    *(
        Case(f"the upstream's {code}", 400 if code in (413, 422) else 502, _with(model=f"status-{code}"))
        for code in ERRORS
        if code not in (400, 429)
    ),
    *(
        Case(f"upstream: {way}", 502, _with(model=way))
        for way in ("silent", "hangup", "no-stream", "no-json", "no-chunks", "cut", "cut-after-text", "html-500")
    ),
    Case("upstream: redirect", 502, _with(model="redirect")),
    Case("upstream: odd error", 502, _with(model="event-odd")),
    *(
        Case(f"upstream: {way} midway", 200, _without("tools", "tool_choice", model=way, stream=True))
        for way in ("cut-after-text", "event-400", "event-500")
    ),
]


AWAY = {"quota": Case("no quota", 503), "auth": Case("no auth", 503, whose="first")}  # by the service that is away


def make(case: Case, canaries: Canaries) -> tuple[str, dict[str, str], bytes | None]:
    """Path, headers and body of a case, with canaries of its own."""

    def word(what: str) -> str:
        return canaries.word(f"{what} of “{case.name}”")

    changed = case.change(full_body(word), word)
    content = json.dumps(changed).encode() if isinstance(changed, dict) else changed
    path = case.path.format(query=word("query string"), path=word("path"))
    headers = full_headers(word)
    if content is not None:
        headers["content-type"] = "application/json"
    long = word("header x-large") * 2500
    return path, headers | {name: value.format(header=long) for name, value in case.headers.items()}, content
