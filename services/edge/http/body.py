"""Reading a request's body within its bounds."""

from __future__ import annotations

from services.edge.http.disconnect import ClientGone
from services.edge.http.exchange import Exchange, Receive
from services.edge.http_errors import ApiError


async def read_json_body(exchange: Exchange, receive: Receive, limit: int) -> bytes | bytearray:
    """The whole body, at most `limit` bytes. Raises ApiError 413 (by the declared length before anything is read, else
    as soon as more came) or 415, and ClientGone."""
    declared = exchange.headers.get(b"content-length")
    if declared is not None and int(declared) > limit:  # the protocol has let digits through only
        raise _too_large(limit)
    body = await _read(receive, limit)
    _check_media_type(exchange)
    return body


async def _read(receive: Receive, limit: int) -> bytes | bytearray:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body") and len(message["body"]) <= limit:
        return bytes(message["body"])  # nearly every body comes whole
    body = bytearray()
    while message["type"] == "http.request":
        body += message["body"]
        if len(body) > limit:
            raise _too_large(limit)
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


def _too_large(limit: int) -> ApiError:
    return ApiError.too_large(limit)
