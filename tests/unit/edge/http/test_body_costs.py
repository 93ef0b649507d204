"""Whatever a body holds: a 400 or a message, a short error, and no more CPU on the event loop than was predicted."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.edge.endpoints.chat.parsed import parse_chat
from services.edge.endpoints.chat.request import ChatRequest
from services.edge.http.errors import ApiError
from services.edge.http.limits import RequestLimits
from services.edge.http.parsing.parser import MAX_IN_PLACE_BYTES, MAX_IN_PLACE_SECONDS
from services.edge.http.parsing.scan import predicted_seconds
from tests.chat_strategies import BODIES, VALUES

EXAMPLES = int(os.environ.get("MUHGPT_TEST_EXAMPLES", "100"))
LIMITS = RequestLimits()
SHORT = 1000  # bytes of an error's body
SLACK = 5  # times what was predicted: test machines are slow, and share their caches with others
USER = '{"role":"user","content":"x"}'


def outcome(body: bytes) -> ApiError | None:
    """The error, or None for a body that is accepted. Anything else that is raised would be a 500."""
    try:
        parse_chat(body, LIMITS).message.SerializeToString()
    except ApiError as error:
        return error
    return None


def many(value: str, count: int) -> str:
    return ",".join([value] * count)


def messages(turns: str) -> str:
    return f'{{"messages":[{turns}]}}'


def fields(text: str) -> str:
    return f'{{"messages":[{USER}],{text}}}'


def schema(value: str) -> str:
    return fields(f'"tools":[{{"type":"function","function":{{"name":"f","parameters":{{"a":{value}}}}}}}]')


def parts(part: str, count: int, role: str = "user") -> str:
    return messages(f'{{"role":"{role}","content":[{many(part, min(count, 2048))}]}}')


def arguments(text: str) -> str:
    call = f'{{"id":"a","function":{{"name":"f","arguments":{json.dumps(text)}}}}}'
    return messages(f'{{"role":"assistant","tool_calls":[{call}]}},{{"role":"tool","tool_call_id":"a","content":""}}')


def calls(count: int) -> str:
    call = '{"id":"a","function":{"name":"f","arguments":""}}'
    turn = f'{{"role":"assistant","tool_calls":[{many(call, 128)}]}},{{"role":"tool","tool_call_id":"a","content":""}}'
    return messages(many(turn, max(1, count // 128)))


def image(encoded: str) -> str:
    return parts('{"type":"image_url","image_url":{"url":"data:;base64,' + encoded + '"}}', 1)


def named(count: int, value: str) -> str:
    return ",".join(f'"k{number}":{value}' for number in range(count))


SHAPES: dict[str, Callable[[int], str]] = {
    "messages": lambda n: messages(many('{"role":"user","content":""}', min(n, 2048))),
    "messages with escaped names": lambda n: messages(many('{"r\\u006fle":"user","content":""}', min(n, 2048))),
    "parts": lambda n: parts('{"type":"text","text":""}', n),
    "parts with escaped names": lambda n: parts('{"type":"te\\u0078t","t\\u0065xt":""}', n),
    "refusals": lambda n: parts('{"type":"refusal","refusal":""}', n, "assistant"),
    "image URLs": lambda n: parts('{"type":"image_url","image_url":{"url":"http://a"}}', n),
    "small images": lambda n: parts('{"type":"image_url","image_url":{"url":"data:;base64,QQ"}}', n),
    "an image": lambda n: image("QUJD" * n),
    "an escaped image": lambda n: image("%51" * n),
    "calls": calls,
    "deep arguments": lambda n: arguments("[" * n + "]" * n),
    "wide arguments": lambda n: arguments(("[" * 40 + "]" * 40) * (n // 40)),
    "arguments of strings": lambda n: arguments('["a"],' * n),
    "escapes": lambda n: messages('{"role":"user","content":"' + "\\u00e9" * n + '"}'),
    "whole numbers": lambda n: schema(f"[{many('1', n)}]"),
    "fractions": lambda n: schema(f"[{many('1.2345678912345e-200', n)}]"),
    "fractions and a null": lambda n: schema(f"[{many('1.2345678912345e-200', n)},null]"),
    "numbers beyond 64 bits": lambda n: schema(f"[{many('18446744073709551616', n)}]"),
    "numbers of 4,000 digits": lambda n: schema(f"[{many('9' * 4000, max(1, n // 100))}]"),
    "arrays in a schema": lambda n: schema(f"[{many('[]', n)}]"),
    "objects in a schema": lambda n: schema("[" + many('{"a":[]}', n) + "]"),
    "names in a schema": lambda n: schema("{" + named(n, "null") + "}"),
    "escapes in a schema": lambda n: schema("[" + many('"\\u00e9\\n"', n) + "]"),
    "tools": lambda n: fields('"tools":[' + many('{"type":"function","function":{"name":"f"}}', n) + "]"),
    "unknown names": lambda n: fields(named(n, "1")),
    "unknown names in a tool": lambda n: fields(
        f'"tools":[{{"type":"function","function":{{"name":"f",{named(n, "1")}}}}}]'
    ),
    "unknown objects": lambda n: fields('"x":[' + many("{}", n) + "]"),
    "a prediction": lambda n: fields('"prediction":{' + named(n, "{}") + "}"),
    "biases": lambda n: fields(f'"logit_bias":{{{named(n, "1")}}}'),
    "labels": lambda n: fields(f'"metadata":{{{named(n, "1")}}}'),
    "modalities": lambda n: fields(f'"modalities":[{many("1", n)}]'),
    "stops": lambda n: fields('"stop":[' + many('""', n) + "]"),
}


def largest_in_place(shape: Callable[[int], str]) -> bytes:
    """The body of this shape with the most in it that would still be parsed on the event loop."""
    low, high = 1, 100_000
    while low < high:
        middle = (low + high + 1) // 2
        body = shape(middle).encode()
        if len(body) <= MAX_IN_PLACE_BYTES and predicted_seconds(body) < MAX_IN_PLACE_SECONDS:
            low = middle
        else:
            high = middle - 1
    return shape(low).encode()


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_parsed_on_the_event_loop_costs_milliseconds(name: str) -> None:
    body = largest_in_place(SHAPES[name])
    gc.collect()
    spent = []
    for _ in range(3):
        began = time.thread_time()
        outcome(body)
        spent.append(time.thread_time() - began)
    assert min(spent) < MAX_IN_PLACE_SECONDS * SLACK


RAW_NUMBERS = st.sampled_from(
    ["NaN", "-Infinity", "1e400", "-0", "1.0", "1E5", "9" * 5000, "-" + "9" * 400, "0.1e-400", "01", "+1", "1."]
)
NAMES = st.sampled_from(list(ChatRequest.model_fields))
SHAPED = st.builds(lambda shape, count: shape(count), st.sampled_from(list(SHAPES.values())), st.integers(1, 3000))
ODD = st.sampled_from(
    [
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u0000\\uffff"',
        '{"\\ud83d": 1}',
        '{"a":1,"a":2}',
        "[" * 300 + "]" * 300,
        '{"a":' * 100 + "1" + "}" * 100,
        '"\u2028\u0085"',
        "tru",
        '"',
        "{",
        "",
        "/**/1",
        "'a'",
    ]
)


def placed(text: str) -> Any:
    """A text as the value of a known field, of a schema, of an argument, or of the whole body."""
    return st.sampled_from(
        [text, schema(text), fields(f'"response_format":{text}'), messages(text), arguments(text)]
    ) | NAMES.map(lambda name: fields(f'"{name}":{text}'))


TEXTS = st.one_of(
    RAW_NUMBERS.flatmap(placed),
    ODD.flatmap(placed),
    SHAPED,
    VALUES.map(json.dumps).flatmap(placed),
    BODIES.map(json.dumps),
)


def mangled(text: str) -> st.SearchStrategy[bytes]:
    """As it is, cut, repeated, in other encodings."""
    raw = text.encode(errors="surrogatepass")
    return st.one_of(
        st.just(raw),
        st.integers(0, len(raw)).map(lambda end: raw[:end]),
        st.sampled_from([b"\xef\xbb\xbf" + raw, raw + raw, raw + b"\x00", b"\xff" + raw]),
        st.sampled_from(["utf-16", "utf-32", "utf-7"]).map(lambda coding: text.encode(coding, errors="replace")),
    )


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(TEXTS.flatmap(mangled))
def test_every_body_is_a_400_or_a_message_and_the_error_is_short(body: bytes) -> None:
    error = outcome(body)
    if error is not None:
        assert error.status == 400
        assert len(error.body()) < SHORT
        assert json.loads(error.body())["error"]["message"]
