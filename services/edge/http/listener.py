"""The listening socket: made before anything else starts, shared by all workers."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from servicekit.errors import StartupError
from servicekit.observability.logging import get_logger
from servicekit.rpc.address import Address
from services.edge.http.descriptors import backlog

log = get_logger(__name__)

WRITE_AGAIN = 1.0  # seconds


def listen(text: str) -> socket.socket:
    """Binds host:port and listens. Raises StartupError when the port is in use or the host is not this machine's."""
    address = Address.parse(text)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartupError(f"the edge cannot resolve {address.host!r} to listen on: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(backlog())
    except OSError as error:
        listener.close()
        raise StartupError(
            f"the edge cannot listen on {address}: {error.strerror}; "
            "stop what listens there or set MUHGPT_EDGE_LISTEN to another host:port"
        ) from None
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """The bound host:port."""
    host, port = listener.getsockname()[:2]
    return str(Address(host, port))


def write_address(file: Path | None, address: str) -> None:
    """Tells others where the edge serves; they see the whole file or none. Where the disk is full, once it is not."""
    if file is None:
        return
    try:
        scratch = file.with_suffix(".tmp")
        scratch.write_text(address)
        os.replace(scratch, file)
    except OSError as error:
        log.error("address_not_written", file=str(file), error=error.strerror)
        again = threading.Timer(WRITE_AGAIN, write_address, (file, address))
        again.daemon = True
        again.start()
