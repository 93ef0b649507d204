"""Reading a request's body within its bounds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from services.edge.http.bodies import HeldBody
from services.edge.http.cut import Cut
from services.edge.http.disconnect import ClientGone
from services.edge.http.errors import ApiError
from services.edge.http.exchange import Exchange, Receive

Uploading = Callable[[Callable[[ApiError], None]], AbstractContextManager[object]]


async def read_json_body(
    exchange: Exchange, receive: Receive, limit: int, held: HeldBody, uploading: Uploading
) -> bytes | bytearray:
    """The whole body, at most `limit` bytes, counted on `held`. While it is still arriving it is an open answer of the
    account: `uploading` takes what ends it early.

    Raises ApiError 413 (by the declared length before anything is read, else as soon as more came), 415, 429 (too much
    or too many at once), 503 (no room, or ended from outside), and ClientGone.
    """
    declared = exchange.headers.get(b"content-length")
    if declared is not None and int(declared) > limit:  # the protocol has let digits through only
        raise ApiError.too_large(limit)
    if exchange.unread():
        async with Cut() as cut:
            with uploading(cut):
                held.cut = cut
                body = await _read(receive, limit, held)
                held.cut = None
    else:
        body = await _read(receive, limit, held)
    _check_media_type(exchange)
    return body


async def _read(receive: Receive, limit: int, held: HeldBody) -> bytes | bytearray:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body") and len(message["body"]) <= limit:
        held.grow(len(message["body"]))
        return bytes(message["body"])  # nearly every body comes whole
    body = bytearray()
    while message["type"] == "http.request":
        held.grow(len(message["body"]))
        body += message["body"]
        if len(body) > limit:
            raise ApiError.too_large(limit)
        if not message.get("more_body"):
            return body
        message = await receive()
    raise ClientGone


def _check_media_type(exchange: Exchange) -> None:
    """JSON must be declared; what curl sends by default (a form) and compressed bodies are not JSON."""
    media_type = exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    json = media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )
    coding = exchange.headers.get(b"content-encoding", b"identity").strip().lower()
    if not json:
        raise ApiError.not_json()
    if coding != b"identity":
        raise ApiError.compressed()
