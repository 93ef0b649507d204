"""The part of the Kubernetes API that the bootstrap Job uses, over HTTPS, with the rights of its Role."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.certificates import Authority

TOKEN = "the-service-account's-token"


class SecretsApi:
    """Keeps Secrets of one namespace in memory. Use as a context manager."""

    def __init__(self, folder: Path, namespace: str, rules: list[dict[str, Any]]) -> None:
        """`folder` becomes what a pod finds at /var/run/secrets/kubernetes.io/serviceaccount. `rules`: of the Role."""
        self.secrets: dict[str, dict[str, str]] = {}
        self.refused: list[str] = []
        self._rules = rules
        self._path = f"/api/v1/namespaces/{namespace}/secrets"
        authority = Authority("cluster")
        mine = authority.issue("localhost")
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {"token": TOKEN, "namespace": namespace, "ca.crt": authority.pem.decode()}.items():
            (folder / name).write_text(content)
        (folder / "server.pem").write_bytes(mine.certificate + mine.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        (folder / "server.pem").unlink()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.variables = {
            "KUBERNETES_SERVICE_HOST": "localhost",
            "KUBERNETES_SERVICE_PORT": str(self._server.server_port),
            "MUHGPT_BOOTSTRAP_IDENTITY": str(folder),
        }

    def __enter__(self) -> SecretsApi:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def forbid_all(self) -> None:
        """Takes every right of the Role away."""
        self._rules.clear()

    def data(self) -> dict[str, dict[str, bytes]]:
        """All Secrets' data."""
        return {
            name: {key: base64.b64decode(value) for key, value in data.items()} for name, data in self.secrets.items()
        }

    def answer(self, method: str, path: str, authorization: str | None, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and document of one request."""
        if authorization != f"Bearer {TOKEN}":
            return 401, {"message": "Unauthorized"}
        name = path.removeprefix(self._path).removeprefix("/")
        verb = {"POST": "create", "GET": "get"}.get(method, method)
        if not path.startswith(self._path) or not self._may(verb, name):
            self.refused.append(f"{verb} {name}")
            return 403, {"message": f"secrets {name!r} is forbidden: cannot {verb}"}
        if verb == "get":
            found = self.secrets.get(name)
            return (200, {"data": found}) if found is not None else (404, {"message": f"{name} not found"})
        secret = json.loads(body)
        if secret["metadata"]["name"] in self.secrets:
            return 409, {"message": "already exists"}
        self.secrets[secret["metadata"]["name"]] = secret["data"]
        return 201, secret

    def _may(self, verb: str, name: str) -> bool:
        return any(
            verb in rule["verbs"] and "secrets" in rule["resources"] and name in rule.get("resourceNames", [name])
            for rule in self._rules
        )


def _handler(api: SecretsApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, document = api.answer(self.command, self.path, self.headers.get("authorization"), body)
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to the terminal."""

    return Handler
