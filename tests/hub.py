"""A stand-in for the Hugging Face hub on a loopback port, with what can go wrong there.

with running_hub() as hub:
    hub.add("ORG/NAME", "model-Q4_K_M.gguf", content)   # LFS, as large files are; lfs=False: in Git itself
    env = {"HF_ENDPOINT": hub.url}
    hub.cut_after(100_000, times=1)    # the next answers end after so many bytes, without a word
    hub.sends_ranges = False           # every answer is the whole file
    hub.damage = True                  # what comes is not what the checksum is of
    hub.refuse(403, code="GatedRepo")  # every request; hub.refuse(None) ends it
    hub.token = "hf_right"             # what is asked for on the hub itself, never at its store
    hub.downloads                      # (file, first byte) of every request for content
    hub.sent                           # bytes of content sent

Large files are sent by a store of their own at another host name, as the real hub does it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What it holds and how it behaves."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, tuple[bytes, bool]]] = {}
        self.url = ""
        self.store = ""
        self.token: str | None = None
        self.sends_ranges = True
        self.damage = False
        self.claimed_size: int | None = None  # what it says of every file
        self.downloads: list[tuple[str, int]] = []
        self.sent = 0
        self.tokens_at_store: list[str] = []
        self.held = threading.Event()  # an answer stands at the cut, when `hold` is set
        self.hold: threading.Event | None = None
        self.refusal: tuple[int, str, str] | None = None
        self._cut: tuple[int, int] = (0, 0)

    def add(self, repository: str, path: str, content: bytes, *, lfs: bool = True) -> None:
        """One more file, or another content of one."""
        self.files.setdefault(repository, {})[path] = (content, lfs)

    def cut_after(self, count: int, times: int = 1) -> None:
        """The next answers with content break off after so many bytes."""
        self._cut = (count, times)

    def refuse(self, status: int | None, *, code: str = "", message: str = "") -> None:
        """Every request gets this; None: no more."""
        self.refusal = None if status is None else (status, code, message)

    def take_cut(self) -> int | None:
        """How many bytes this answer may send; None: all."""
        count, times = self._cut
        if times == 0:
            return None
        self._cut = (count, times - 1)
        return count

    def listing(self, repository: str) -> dict[str, Any]:
        """The document of a repository, its fields named as the hub names them."""
        siblings: list[dict[str, Any]] = []
        for path, (content, lfs) in self.files[repository].items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            sibling: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": blob}
            size = len(content) if self.claimed_size is None else self.claimed_size
            if lfs:
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": size, "pointerSize": 134}
            siblings.append(sibling)
        return {"id": repository, "sha": COMMIT, "private": False, "gated": False, "siblings": siblings}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        at_store = path.startswith("/store/")
        authorization = self.headers.get("authorization", "")
        if at_store:
            hub.tokens_at_store.append(authorization)
        elif hub.refusal is not None:
            status, code, message = hub.refusal
            return self._answer(status, b"{}", {"x-error-code": code, "x-error-message": message})
        elif hub.token is not None and authorization != f"Bearer {hub.token}":
            return self._answer(401, b"{}", {"x-error-message": "Invalid credentials in Authorization header"})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            return self._list(found[1], found[2])
        if found := re.fullmatch(rf"(?:/store)?/([^/]+/[^/]+)/resolve/{COMMIT}/(.+)", path):
            return self._file(found[1], found[2], at_store=at_store)
        return self._answer(404, b"{}", {"x-error-code": "RepoNotFound"})

    def _list(self, repository: str, revision: str) -> None:
        if repository not in self.hub.files:
            return self._answer(401, b"{}", {"x-error-code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self._answer(404, b"{}", {"x-error-code": "RevisionNotFound"})
        return self._answer(200, json.dumps(self.hub.listing(repository)).encode(), {})

    def _file(self, repository: str, name: str, *, at_store: bool) -> None:
        content, lfs = self.hub.files[repository][name]
        if lfs and not at_store:
            return self._answer(302, b"", {"location": f"{self.hub.store}/store{self.path}"})
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        start = int(found[1]) if found and self.hub.sends_ranges else 0
        self.hub.downloads.append((name, int(found[1]) if found else 0))
        if self.hub.damage:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"content-range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        return self._answer(206 if start else 200, content[start:], headers, self.hub.take_cut())

    def _answer(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        sent = body if cut is None else body[:cut]
        self.wfile.write(sent)
        if cut is not None:
            self.wfile.flush()
            if self.hub.hold is not None:
                self.hub.held.set()
                self.hub.hold.wait(30)
            self.close_connection = True
        if status in (200, 206) and not self.path.startswith("/api/"):
            self.hub.sent += len(sent)

    def log_message(self, format: str, *args: object) -> None:
        return None


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serves one until the end of the block."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    hub.url = f"http://127.0.0.1:{servers[0].server_port}"
    hub.store = f"http://localhost:{servers[1].server_port}"
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
