"""The Secrets of one namespace, over the Kubernetes API: made where missing, never changed."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Mapping

import httpx

from muhgpt_cli.bootstrap.settings import BootstrapSettings
from servicekit.errors import StartupError

TIMEOUT = 10.0  # seconds for one request
OPAQUE, TLS = "Opaque", "kubernetes.io/tls"


class Secrets:
    """Use as a context manager."""

    def __init__(self, settings: BootstrapSettings) -> None:
        """Raises StartupError when the pod has no service account's token."""
        identity = settings.muhgpt_bootstrap_identity
        try:
            token = (identity / "token").read_text().strip()
            self.namespace = (identity / "namespace").read_text().strip()
            context = ssl.create_default_context(cafile=str(identity / "ca.crt"))
        except OSError as error:
            raise StartupError(
                f"cannot read the service account in {identity}: {error.strerror}; this runs in a pod "
                "with automountServiceAccountToken: true"
            ) from None
        host = settings.kubernetes_service_host
        host = f"[{host}]" if ":" in host else host
        self._http = httpx.Client(
            base_url=f"https://{host}:{settings.kubernetes_service_port}/api/v1/namespaces/{self.namespace}",
            headers={"authorization": f"Bearer {token}"},
            verify=context,
            timeout=TIMEOUT,
            trust_env=False,
        )

    def __enter__(self) -> Secrets:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ensure(self, name: str, make: Callable[[], Mapping[str, bytes]], kind: str = OPAQUE) -> bool:
        """Makes a Secret unless there is one of this name; tells whether it was made. Raises StartupError."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "muhgpt"}},
            "type": kind,
            "data": {key: base64.b64encode(value).decode() for key, value in make().items()},
        }
        answer = self._ask("POST", "/secrets", body)
        if answer.status_code == httpx.codes.CONFLICT:
            return False
        self._demand(answer, f"make the Secret {name}")
        return True

    def read(self, name: str) -> dict[str, bytes]:
        """A Secret's data. Raises StartupError."""
        answer = self._ask("GET", f"/secrets/{name}", None)
        self._demand(answer, f"read the Secret {name}")
        return {key: base64.b64decode(value) for key, value in answer.json()["data"].items()}

    def _ask(self, method: str, path: str, body: object) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise StartupError(f"the Kubernetes API at {self._http.base_url.host} does not answer: {error}") from None

    def _demand(self, answer: httpx.Response, what: str) -> None:
        if answer.is_success:
            return
        try:
            reason = str(answer.json().get("message", ""))
        except ValueError:
            reason = ""
        raise StartupError(f"the Kubernetes API did not {what}: HTTP {answer.status_code} {reason}")
