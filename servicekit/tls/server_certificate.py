"""Whose certificate a server has shown, compared name by name as servers do with their callers (access.py).

gRPC's clients also believe a certificate with a wildcard, or without alternative names and with the right common name,
and offer no hook to be stricter. What they know of their connections, certificates included, is in channelz, the form
in which gRPC describes its own state (grpcio-channelz reads it the same way).
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from grpc._cython import cygrpc

ALTERNATIVE_NAMES = bytes.fromhex("0603551d11")  # the object identifier 2.5.29.17, encoded
SEQUENCE, OCTETS, EXTENSIONS, DNS_NAME = 0x30, 0x04, 0xA3, 0x82


def sockets_of(target: str) -> dict[int, set[str]]:
    """The connections of all channels to `target` ("host:port"): by their numbers, the DNS names that were shown."""
    found = {}
    for channel in _top_channels():
        if unquote(channel["data"]["target"]).removeprefix("dns:///") != target:
            continue
        for reference in channel.get("subchannelRef", ()):
            for number in _numbers(reference):
                if (socket := _socket(number)) is not None:
                    found[number] = _names(socket)
    return found


def exists(number: int) -> bool:
    """Whether a connection is still there."""
    return _socket(number) is not None


def dns_names(certificate: bytes) -> set[str]:
    """The DNS names among a certificate's (DER) alternative names. Raises ValueError for what is no certificate."""
    _, whole = next(_parts(certificate))
    _, signed = next(_parts(whole))
    extensions = next((content for tag, content in _parts(signed) if tag == EXTENSIONS), b"")
    for _, listed in _parts(extensions):
        for _, extension in _parts(listed):
            if extension.startswith(ALTERNATIVE_NAMES):
                value = [content for tag, content in _parts(extension) if tag == OCTETS][-1]
                _, names = next(_parts(value))
                return {name.decode("ascii", "replace") for tag, name in _parts(names) if tag == DNS_NAME}
    return set()


def _names(socket: dict[str, Any]) -> set[str]:
    shown = socket.get("security", {}).get("tls", {}).get("remoteCertificate", "")
    try:
        return dns_names(ssl.PEM_cert_to_DER_cert(base64.b64decode(shown).decode("ascii")))
    except (ValueError, StopIteration, IndexError):
        return set()


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tags and contents that follow each other in DER."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size]), at + size
        if at + length > len(data):
            raise ValueError("cut short")
        yield tag, data[at : at + length]
        at += length


def _top_channels() -> Iterator[dict[str, Any]]:
    start = 0
    while True:
        page = json.loads(cygrpc.channelz_get_top_channels(start))
        channels = page.get("channel", [])
        yield from channels
        if page.get("end") or not channels:
            return
        start = int(channels[-1]["ref"]["channelId"]) + 1


def _numbers(reference: dict[str, Any]) -> list[int]:
    try:
        subchannel = json.loads(cygrpc.channelz_get_subchannel(int(reference["subchannelId"])))["subchannel"]
    except ValueError:  # gone meanwhile
        return []
    return [int(socket["socketId"]) for socket in subchannel.get("socketRef", ())]


def _socket(number: int) -> dict[str, Any] | None:
    try:
        socket: dict[str, Any] = json.loads(cygrpc.channelz_get_socket(number))["socket"]
    except ValueError:
        return None
    return socket
