"""What the fuzzers send: chat bodies with sizes up to the bounds, HTTP by its grammar and beside it, lists, headers."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import strategies as st

from common.model_list import SHIPPED
from tests.chat_strategies import BODIES, VALUES

KIB = 1024

# Chat bodies

PIECES = st.sampled_from(
    [
        "a",
        " ",
        "\n",
        "[",
        "{",
        '"',
        "\\",
        "0",
        "\u2028",
        "\u0301",
        "😀",
        "<|im_end|>",
        "<tool_call>",
        "{{x}}",
        "\ufffe",
        "{% %}",
    ]
)
LONG_TEXTS = st.builds(
    lambda piece, count: piece * count, PIECES, st.sampled_from([0, 1, 63, 64, 65, KIB, 70 * KIB, 300 * KIB])
)
DEPTHS = st.sampled_from([1, 63, 64, 65, 200, 1_000, 35_000])
NESTED = st.builds(
    lambda pair, depth: pair[0] * depth + pair[1] * depth,
    st.sampled_from([("[", "]"), ('{"a":', "}"), ("[", ""), ('"', ""), ("[{", "}]")]),
    DEPTHS,
)
ARGUMENTS = NESTED | LONG_TEXTS | st.sampled_from(["", "{", '{"a":', "{}{}", '"\\ud800"', "nul", "1e999"])
COUNTS = st.sampled_from([0, 1, 2, 128, 129, 2_048, 2_049, 20_000])
ENTRIES = st.sampled_from([{}, None, 1, "x", [], {"type": "text", "text": ""}, {"role": "user", "content": "x"}])
REPEATED = st.builds(lambda entry, count: [entry] * count, ENTRIES, COUNTS)
OBJECTS = st.builds(lambda entry, count: {f"k{number}": entry for number in range(count)}, ENTRIES, COUNTS)


def _called(arguments: str) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}]
    return {"messages": [*turns, {"role": "tool", "tool_call_id": "c", "content": arguments[:100]}], "max_tokens": 1}


def _with(field: str, value: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, field: value}


FIELDS = st.sampled_from(
    [
        "messages",
        "tools",
        "stop",
        "logit_bias",
        "metadata",
        "modalities",
        "response_format",
        "tool_choice",
        "unknown",
        "n",
        "user",
    ]
)
SIZED = (
    st.builds(_called, ARGUMENTS)
    | st.builds(_with, FIELDS, REPEATED | OBJECTS | LONG_TEXTS | VALUES)
    | st.builds(lambda text: _with("messages", [{"role": "user", "content": text}]), LONG_TEXTS)
    | st.builds(lambda parts: _with("messages", [{"role": "user", "content": parts}]), REPEATED)
)
RAW_FIELDS = st.builds(
    lambda field, nested: (
        b'{"messages":[{"role":"user","content":"x"}],"max_tokens":1,"%s":%s}' % (field.encode(), nested.encode())
    ),
    FIELDS,
    NESTED,
)
CHAT_BODIES = (BODIES | SIZED).map(lambda body: json.dumps(body).encode()) | RAW_FIELDS | st.binary(max_size=200)

# HTTP

TOKENS = st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PRI", "", "\0", "G ET"])
TARGETS = st.sampled_from(
    ["/", "/v1/chat/completions", "/v1/models", "*", "a:1", "http://a/", "/%00", "//", "/" + "a" * 9_000, "é"]
)
VERSIONS = st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/1", "", "http/1.1"])
ENDS = st.sampled_from(["\r\n", "\n", "\r", "\r\n\r\n", "\0\r\n"])
NAMES = st.sampled_from(
    [
        "Host",
        "host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "Expect",
        "Authorization",
        "X-A",
        " X",
        "X :",
        "",
        "\0",
    ]
)
HEADER_VALUES = st.sampled_from(
    [
        "a",
        "",
        "0",
        "5",
        "+5",
        "-1",
        "0x5",
        "5, 5",
        "9" * 5_000,
        "chunked",
        "identity, chunked",
        "gzip",
        "close",
        "keep-alive, Upgrade",
        "h2c",
        "100-continue",
        "x" * 9_000,
        "\x7f",
        "é",
        "a\r b",
    ]
)
HEADERS = st.lists(st.tuples(NAMES, HEADER_VALUES, ENDS), max_size=8)
REST = st.sampled_from(
    [
        "",
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "0\r\na: b\r\n\r\n",
        "0\r\n" + "a: b\r\n" * 500,
        "fffffffffffffffff\r\n",
        "-1\r\n",
        "1;" + "x" * 9_000,
        "{}",
    ]
)


def _message(method: str, target: str, version: str, end: str, headers: list[tuple[str, str, str]], rest: str) -> bytes:
    lines = "".join(f"{name}: {value}{closing}" for name, value, closing in headers)
    return f"{method} {target} {version}{end}{lines}\r\n{rest}".encode("latin-1")


MESSAGES = st.builds(_message, TOKENS, TARGETS, VERSIONS, ENDS, HEADERS, REST) | st.binary(max_size=400)
WRITES = st.lists(MESSAGES, min_size=1, max_size=3)

# Model lists and model files

LIST_LINES = SHIPPED.read_text().splitlines()
ODD_LINES = st.sampled_from(
    [
        "- &a [*a]",
        "  engine: [",
        "x: !!python/object/apply:os.system ['true']",
        "  price: {input: -1}",
        "  file: /dev/zero",
        "? {a: b}",
        "\t",
        "  aliases: [" + "a, " * 2_000 + "]",
        "[" * 3_000,
        "&a [" + "*a, " * 9 + "]",
        "  " + "x" * 70_000,
        "\ud7ff",
        "---",
        "  context: 1e999",
        "  created: 99999999999999999999",
    ]
)


def _changed(cut: int, line: str, again: int) -> str:
    where = cut % len(LIST_LINES)
    return "\n".join([*LIST_LINES[:where], *[line] * again, *LIST_LINES[where + cut % 3 :]])


MODEL_LISTS = st.builds(
    _changed, st.integers(0, 10_000), ODD_LINES | st.sampled_from(LIST_LINES) | st.text(max_size=40), st.integers(0, 3)
)

SIZES = st.sampled_from([0, 1, 2, 3, 5_000, 2**31, 2**32, 2**63 - 1, 2**64 - 1])
KINDS = st.integers(0, 14) | st.sampled_from([2**31, 2**32 - 1])
STRINGS = st.builds(lambda size, text: struct.pack("<Q", size) + text, SIZES, st.binary(max_size=20)) | st.binary(
    max_size=12
).map(lambda text: struct.pack("<Q", len(text)) + text)
ARRAYS = st.builds(
    lambda kind, size, inside: struct.pack("<IQ", kind, size) + inside, KINDS, SIZES, st.binary(max_size=60)
)
DEEP = st.builds(lambda depth: struct.pack("<IQ", 9, 1) * depth, st.sampled_from([1, 100, 5_000, 200_000]))
DEEP_FIELDS = DEEP.map(lambda nested: struct.pack("<Q", 1) + b"x" + struct.pack("<I", 9) + nested)
FIELDS_OF_FILES = DEEP_FIELDS | st.builds(
    lambda name, kind, value: name + struct.pack("<I", kind) + value,
    STRINGS,
    KINDS,
    STRINGS | ARRAYS | DEEP | st.binary(max_size=16),
)
MODEL_FILES = st.builds(
    lambda magic, version, tensors, count, fields: (
        magic + struct.pack("<IQQ", version, tensors, count) + b"".join(fields)
    ),
    st.sampled_from([b"GGUF", b"GGUF", b"GGUF", b"FUGG", b""]),
    st.sampled_from([3, 2, 1, 0, 2**32 - 1]),
    SIZES,
    SIZES,
    st.lists(FIELDS_OF_FILES, max_size=4),
)
