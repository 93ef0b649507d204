"""The bundled encodings are OpenAI's own, count like another implementation, and no text makes them slow."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from services.inference.engines.upstream.tokens.encodings import bundled_tokens, load_encoding
from services.inference.engines.upstream.tokens.running_count import RunningCount

# tiktoken 0.14, openai_public.py, expected_hash.
PUBLISHED = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
MEBIBYTE = 1 << 20
COUNTS = json.loads((Path(__file__).parents[2] / "token_counts" / "counts.json").read_text())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_bundled_merges_are_the_published_ranks(name: str) -> None:
    tokens: list[bytes] = []
    lines = hashlib.sha256()
    for rank, token in enumerate(bundled_tokens(name)):
        tokens.append(bytes([token]) if isinstance(token, int) else tokens[token[0]] + tokens[token[1]])
        lines.update(base64.b64encode(tokens[rank]) + b" %d\n" % rank)
    assert lines.hexdigest() == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_texts_of_all_scripts_count_as_another_implementation_counts_them(name: str) -> None:
    encoding = load_encoding(name)
    for text, expected in COUNTS["texts"].items():
        assert encoding.count(text) == expected[name], text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a" * MEBIBYTE, MEBIBYTE // 8),
        (" " * MEBIBYTE, MEBIBYTE // 128),
        (" " * (MEBIBYTE - 1) + "x", MEBIBYTE // 128 + 2),
        ("\n" * MEBIBYTE, MEBIBYTE // 16),
        ("1" * MEBIBYTE, -(-MEBIBYTE // 3)),
    ],
    ids=["one letter", "spaces", "spaces and a letter", "line breaks", "digits"],
)
@pytest.mark.timeout(20)
def test_a_mebibyte_of_one_character_neither_overflows_nor_takes_quadratic_time(text: str, tokens: int) -> None:
    assert load_encoding("o200k_base").count(text) == tokens


def test_a_lone_surrogate_counts_as_what_is_sent_in_its_place() -> None:
    assert load_encoding("o200k_base").count("a\ud83d") == load_encoding("o200k_base").count("a?")


@pytest.mark.parametrize("pieces", [1, 3, 17, 1000])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_text_that_grows_counts_at_every_moment_as_the_whole_of_it(name: str, pieces: int) -> None:
    encoding = load_encoding(name)
    for text in COUNTS["texts"]:
        long = text * 40
        running = RunningCount(encoding)
        for start in range(0, len(long), pieces):
            running.add(long[start : start + pieces])
            if start // pieces % 16 == 0:
                assert running.tokens == encoding.count(long[: start + pieces])
        assert running.tokens == encoding.count(long)


def test_what_is_no_tokenizer_is_named_and_nothing_is_fetched_for_it(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    with pytest.raises(OSError, match="No such file"):
        load_encoding(str(file))
    file.write_text("{}")
    with pytest.raises(ValueError, match="not a tokenizer"):
        load_encoding(str(file))


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_a_text_of_words_counts_as_it_does_whole_after_every_piece(name: str) -> None:
    """A new window begins with a word: before which letters, spaces and signs is where encodings could differ."""
    encoding = load_encoding(name)
    parts = [
        "It's a",
        " Déjà",
        " vu",
        ",",
        " 42",
        " times",
        "  two",
        " \n",
        "x",
        " НЕ",
        "т",
        " 你好",
        " a",
        "'s",
        " I'LL",
        "!",
        " go",
    ]
    for turn in range(len(parts)):
        running, so_far = RunningCount(encoding), ""
        for part in (parts[turn:] + parts[:turn]) * 6:
            running.add(part)
            so_far += part
            assert running.tokens == encoding.count(so_far)
