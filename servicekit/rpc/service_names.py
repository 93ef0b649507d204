"""Two names for one service, while an upgrade exchanges the first for the second (docs/releases.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

SUFFIX = "Service"


def new_name(released: str) -> str | None:
    """The full name that replaces a released one, which doesn't end in `Service`; None for one that does."""
    return None if released.endswith(SUFFIX) else f"{released}{SUFFIX}"


class UnderNewName:
    """Stands for a server while generated code adds a servicer to it: the methods are served under another name."""

    def __init__(self, server: grpc.aio.Server, name: str) -> None:
        self._server = server
        self._name = name

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Only carries the released name, under which the servicer is added separately."""

    def add_registered_method_handlers(self, released: str, methods: Mapping[str, grpc.RpcMethodHandler]) -> None:
        """Adds the methods of a servicer under the new name."""
        handler = grpc.method_handlers_generic_handler(self._name, dict(methods))
        self._server.add_generic_rpc_handlers((handler,))
