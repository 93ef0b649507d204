"""The bytes of a base64 data: URL, read as browsers do (WHATWG Fetch, data: URLs; Infra, forgiving-base64 decode)."""

from __future__ import annotations

import base64
import binascii

_SPACES = b"\t\n\x0c\r "


def decode(url: str) -> bytes:
    """Raises ValueError with what is wrong, to follow the field's name. Linear in the length, without a loop in Python.

    Padding may be missing, whitespace may stand anywhere, and characters may be escaped with %.
    """
    header, comma, payload = url.partition(",")
    _, semicolon, coding = header.rpartition(";")
    if not comma or not semicolon or coding.strip(" ").lower() != "base64":
        raise ValueError("must be of the form data:image/png;base64,…")
    try:
        text = _unescaped(payload.partition("#")[0].encode("ascii")).translate(None, _SPACES)
        data = base64.b64decode(_padded(text), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not valid base64") from None
    if not data:
        raise ValueError("holds no image")
    return data


def _padded(text: bytes) -> bytes:
    if len(text) % 4 == 0:
        return text
    if text.endswith(b"="):  # padding is all there or not there at all
        raise ValueError
    return text + b"=" * (-len(text) % 4)


def _unescaped(text: bytes) -> bytes:
    """Without %XX. Quoted-printable is the same with another sign, and the standard library decodes it in C."""
    if b"%" not in text:
        return text
    return binascii.a2b_qp(text.translate(None, _SPACES).replace(b"=", b"=3D").replace(b"%", b"="))
