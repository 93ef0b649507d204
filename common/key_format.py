"""The format of API keys: "mghp_", 30 random base62 characters, 6 base62 characters of CRC-32 (docs/wire.md).

The checksum is the CRC-32 (zlib's, ISO-HDLC) of the 35 ASCII characters before it, written in base62, most significant
digit first, padded with zeros to six. It lets the edge refuse a mistyped key without asking auth, and secret scanners
tell a key from noise; it proves nothing about the key being known. The digest is all that auth ever stores or is sent.
"""

from __future__ import annotations

import hashlib
import string
import zlib
from collections.abc import Callable

PREFIX = "mghp_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 30
CHECKSUM_LENGTH = 6
LENGTH = len(PREFIX) + RANDOM_LENGTH + CHECKSUM_LENGTH

RandomBytes = Callable[[int], bytes]

# Bytes from here on are thrown away: 248 = 4 * 62, so what is kept falls on every character equally often.
_FAIR = len(ALPHABET) * (256 // len(ALPHABET))


def mint(random_bytes: RandomBytes) -> str:
    """A new key. `random_bytes(n)` gives n unpredictable bytes; secrets.token_bytes outside tests."""
    body = PREFIX + _random_text(random_bytes)
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether a text has a key's shape and a checksum that fits. Any single wrong character makes it False."""
    if len(key) != LENGTH or not key.startswith(PREFIX) or not key.isascii():
        return False
    body, checksum = key[:-CHECKSUM_LENGTH], key[-CHECKSUM_LENGTH:]
    return all(character in ALPHABET for character in body[len(PREFIX) :]) and _checksum(body) == checksum


def digest(key: str) -> bytes:
    """SHA-256 of the whole key as the client sent it, 32 bytes."""
    return hashlib.sha256(key.encode()).digest()


def _random_text(random_bytes: RandomBytes) -> str:
    characters: list[str] = []
    while len(characters) < RANDOM_LENGTH:
        fair = (byte for byte in random_bytes(RANDOM_LENGTH) if byte < _FAIR)
        characters += (ALPHABET[byte % len(ALPHABET)] for byte in fair)
    return "".join(characters[:RANDOM_LENGTH])


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("ascii"))
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
