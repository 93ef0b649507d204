"""Makes the merges in services/inference/engines/upstream/tokens/data from the ranks in an npm package. Run by hand:

    npm install --prefix DIRECTORY js-tiktoken@1.0.21
    python tests/token_counts/make_merges.py DIRECTORY

js-tiktoken (MIT) carries OpenAI's rank files. A token of more than one byte is the merge of two earlier ones; which two
follows from the ranks, and two numbers a token compress to a third of the ranks themselves.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from pathlib import Path

DATA = Path(__file__).parents[2] / "services" / "inference" / "engines" / "upstream" / "tokens" / "data"
SOURCES = ("o200k_base", "cl100k_base")


def read_ranks(package: Path, name: str) -> list[bytes]:
    """The tokens in the order of their ranks."""
    script = (package / "dist" / "ranks" / f"{name}.js").read_text()
    document = json.loads(script.removeprefix("export default").strip().rstrip(";"))
    tokens: dict[int, bytes] = {}
    for line in document["bpe_ranks"].split("\n"):
        if line:
            _, first, *words = line.split(" ")
            tokens.update((int(first) + place, base64.b64decode(word)) for place, word in enumerate(words))
    return [tokens[rank] for rank in range(len(tokens))]


def parents(ranks: dict[bytes, int], token: bytes) -> tuple[int, int]:
    """The two tokens whose merge this one is: what byte pair encoding makes of it before its own rank."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [(ranks.get(parts[i] + parts[i + 1], len(ranks)), i) for i in range(len(parts) - 1)]
        rank, place = min(pairs)
        assert rank < ranks[token], token
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return ranks[parts[0]], ranks[parts[1]]


def encode(tokens: list[bytes]) -> bytes:
    """The 256 bytes in their order, then the planes of the pairs' numbers, 3 bytes each; compressed."""
    assert all(len(token) == 1 for token in tokens[:256])
    ranks = {token: rank for rank, token in enumerate(tokens)}
    pairs = [parents(ranks, token) for token in tokens[256:]]
    planes = [bytes(pair[side] >> shift & 255 for pair in pairs) for side in (0, 1) for shift in (0, 8, 16)]
    return zlib.compress(b"".join(tokens[:256]) + b"".join(planes), 9)


def main(directory: Path) -> None:
    """Writes both files."""
    for name in SOURCES:
        data = encode(read_ranks(directory / "node_modules" / "js-tiktoken", name))
        (DATA / f"{name}.merges").write_bytes(data)
        sys.stdout.write(f"{name}: {len(data)} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
