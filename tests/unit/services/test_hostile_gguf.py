"""Model files that are damaged or made to hurt: each is one sentence, at once, in little memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
from pathlib import Path

import pytest

from common.gguf import control_tokens, facts, longest_token, sampling
from servicekit.errors import StartupError
from services.inference.default_model import FILE as DEFAULT_FILE

HEAD = struct.pack("<4sIQ", b"GGUF", 3, 0)
MANY = 2**63
TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def field(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, length: int, items: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, length) + items


def file(*fields: bytes, count: int | None = None) -> bytes:
    return HEAD + struct.pack("<Q", len(fields) if count is None else count) + b"".join(fields)


def nested(depth: int) -> bytes:
    return array(9, 1) * depth + array(4, 0)


HOSTILE = {
    "empty": b"",
    "the magic alone": b"GGUF",
    "another magic": file().replace(b"GGUF", b"GGML"),
    "arrays 5,000 deep": file(field("a", 9, nested(5_000))),
    "arrays 100,000 deep": file(field(TOKENS, 9, nested(100_000))),
    "arrays as wide as deep": file(field("a", 9, array(9, 100_000, nested(3) * 10_000))),
    "fields without end": file(count=MANY),
    "a huge array of numbers": file(field("a", 9, array(4, MANY))),
    "a huge array of texts": file(field(TOKENS, 9, array(8, 3_000_000))),
    "a huge array of nothing": file(*[field(f"a{n}", 9, array(9, 3_000_000)) for n in range(2)]),
    "a huge text": file(field("a", 8, struct.pack("<Q", MANY))),
    "a huge name": HEAD + struct.pack("<QQ", 1, MANY),
    "an unknown kind": file(field("a", 13, b"")),
    "a negative length": file(field("a", 8, struct.pack("<q", -1))),
    "tokens that are numbers": file(
        field(TOKENS, 9, array(4, 2, b"\0" * 8)), field(TYPES, 9, array(5, 2, b"\3\0\0\0" * 2))
    ),
    "tokens that are a text": file(field(TOKENS, 8, text("abc"))),
    "tokens that are a number": file(field(TOKENS, 4, b"\0" * 4)),
    "cut short": DEFAULT_FILE.read_bytes()[:30_000],
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    began = time.process_time()
    problems = []
    for read in (control_tokens, longest_token):
        with pytest.raises(StartupError) as refused:
            read(path)
        problems.append(str(refused.value))
    for read_all in (sampling, facts):
        try:
            read_all(path)
        except StartupError as error:
            problems.append(str(error))
    assert time.process_time() - began < 5
    assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    tracemalloc.stop()
    assert {problem.count("\n") for problem in problems} == {0}
    assert all("model.gguf is damaged or cut short" in problem for problem in problems)


def test_unknown_tokens_are_control_tokens_too(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tokens = array(8, 3, text("<unk>") + text("<s>") + text("a"))
    path.write_bytes(file(field(TOKENS, 9, tokens), field(TYPES, 9, array(5, 3, struct.pack("<3i", 2, 3, 1)))))
    assert control_tokens(path) == ["<unk>", "<s>"]
    assert longest_token(path) == 5
