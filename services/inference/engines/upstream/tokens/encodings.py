"""The tokenizers: OpenAI's two encodings from the bundled merges, or a tokenizer.json. Nothing is ever fetched."""

from __future__ import annotations

import itertools
import os
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

# One thread a count: more would take the cores from what is being answered.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
BUNDLED = ("o200k_base", "cl100k_base")
DATA = Path(__file__).parent / "data"
MAX_TOKENIZER_BYTES = 256 * 1024 * 1024  # of a tokenizer.json; the largest in use have 40 MiB
KNOWN, MAX_KNOWN = 8192, 32  # texts whose count is remembered, and characters of each

# How the encodings split a text before they merge: tiktoken 0.14, openai_public.py.
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_PATTERNS = {
    "o200k_base": (
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_CONTRACTIONS}?"
        rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_CONTRACTIONS}?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "cl100k_base": (
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}


class Encoding:
    """Counts the tokens of texts. Safe for concurrent use. `splits_words`: no token spans the space before a word."""

    def __init__(self, tokenizer: Any, *, splits_words: bool = False) -> None:
        self.splits_words = splits_words
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._count_known = lru_cache(KNOWN)(self.count)

    def count(self, text: str) -> int:
        """Tokens of a text, without any that would be put around it. 0.1 to 0.7 µs a byte, whatever the text is."""
        return self.count_all([text])

    def count_short(self, text: str) -> int:
        """The same, remembered where it is a word or two, of which most texts are made."""
        return self._count_known(text) if len(text) <= MAX_KNOWN else self.count(text)

    def count_all(self, texts: list[str]) -> int:
        """The sum over texts, each counted alone."""
        # What no UTF-8 can carry (a lone surrogate) becomes U+FFFD there too.
        sound = [text.encode("utf-8", "replace").decode() for text in texts if text]
        if not sound:
            return 0
        return sum(len(found) for found in self._tokenizer.encode_batch_fast(sound, add_special_tokens=False))

    def last_start(self, text: str, latest: int) -> int:
        """Where the last token begins that begins at `latest` or before, in characters; `latest` if there is none."""
        offsets = self._tokenizer.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).offsets
        return max((start for start, _ in offsets if 0 < start <= latest), default=latest)


@lru_cache(maxsize=8)
def load_encoding(name: str) -> Encoding:
    """One of BUNDLED by its name, else the tokenizer.json of that path; 0.2 to 0.5 s. Raises OSError and ValueError."""
    if name in BUNDLED:
        return Encoding(_bundled(name), splits_words=True)
    file = Path(name)
    if file.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ValueError(f"it has more than {MAX_TOKENIZER_BYTES} bytes")
    try:
        return Encoding(Tokenizer.from_buffer(file.read_bytes()))
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 (the library raises bare Exception)
        raise ValueError(f"it is not a tokenizer.json: {error}") from None


def bundled_tokens(name: str) -> list[tuple[int, int] | int]:
    """The encoding's tokens by rank: a byte, or the ranks of the two tokens that merge to it."""
    data = zlib.decompress((DATA / f"{name}.merges").read_bytes())
    size = (len(data) - 256) // 6
    planes = [data[256 + plane * size : 256 + (plane + 1) * size] for plane in range(6)]
    lefts, rights = (
        [low | middle << 8 | high << 16 for low, middle, high in zip(*planes[at : at + 3], strict=True)]
        for at in (0, 3)
    )
    return [*data[:256], *zip(lefts, rights, strict=True)]


def _bundled(name: str) -> Any:
    letters = _byte_letters()
    names: list[str] = []
    merges: list[tuple[str, str]] = []
    for token in bundled_tokens(name):
        if isinstance(token, int):
            names.append(letters[token])
        else:
            pair = names[token[0]], names[token[1]]
            merges.append(pair)
            names.append(pair[0] + pair[1])
    vocabulary = {letter: rank for rank, letter in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERNS[name]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def _byte_letters() -> dict[int, str]:
    """A printable letter for each byte, as GPT-2's byte-level encoding has them: its own, else one from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = itertools.count(256)
    return {byte: chr(byte if byte in printable else next(others)) for byte in range(256)}
