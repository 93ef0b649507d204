"""The hub's two requests: what a repository holds, and the bytes of one of its files.

The protocol is that of the hub's public API, as its own client speaks it:
GET /api/models/ORG/NAME/revision/REV?blobs=true, and
GET /ORG/NAME/resolve/COMMIT/FILE, which may redirect to where large files lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from muhgpt_cli.edge_client import local_host
from muhgpt_cli.errors import CliError
from muhgpt_cli.output import printable

DEFAULT_ENDPOINT = "https://huggingface.co"
TIMEOUT = httpx.Timeout(30.0, connect=10.0)  # seconds; for a download, between two pieces of it
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
SWITCHED_ON = {"1", "true", "yes", "on"}


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. One of the two checksums is known: SHA-256 of large files, Git's own of small ones."""

    path: str
    size: int  # bytes
    sha256: str | None
    git_sha1: str | None = None

    @property
    def name(self) -> str:
        """Its name without its folder."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Repository:
    """What a repository held at one commit."""

    id: str
    commit: str
    files: tuple[RemoteFile, ...]


class Interrupted(Exception):
    """The connection broke, or the hub is busy: to be tried again, `after` so many seconds if it said so.

    `answered`: the hub was reached.
    """

    def __init__(self, what: str, after: float | None = None, *, answered: bool = False) -> None:
        super().__init__(what)
        self.after = after
        self.answered = answered


class Hub:
    """Use as `with Hub.of(environment) as hub`. Methods raise CliError, and Interrupted where trying again may help."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        """`token`: of an account of the hub, for private and gated repositories."""
        self.endpoint = endpoint.rstrip("/")
        self._token = token
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise CliError("the hub's token holds characters that no token has; look at HF_TOKEN or the token's file")
        headers = {"user-agent": "muhgpt", **({"authorization": f"Bearer {token}"} if token else {})}
        try:
            url = httpx.URL(self.endpoint)
            if url.scheme not in ("http", "https") or not url.host:
                raise httpx.InvalidURL("no http or https URL")
            # httpx leaves the authorization away when a redirect leads to another host, as to the hub's store.
            self._http = httpx.Client(
                headers=headers, timeout=TIMEOUT, follow_redirects=True, trust_env=not local_host(url)
            )
        except httpx.InvalidURL:
            raise CliError(f"HF_ENDPOINT {endpoint!r} is not a URL such as {DEFAULT_ENDPOINT}") from None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Hub:
        """The hub that HF_ENDPOINT names, with the token of HF_TOKEN or that `hf auth login` keeps. Raises CliError."""
        if environment.get("HF_HUB_OFFLINE", "").lower() in SWITCHED_ON:
            raise CliError("HF_HUB_OFFLINE is set, so nothing is fetched; unset it, or name a file in the model list")
        return cls(environment.get("HF_ENDPOINT") or DEFAULT_ENDPOINT, _token(environment))

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def repository(self, name: str, revision: str) -> Repository:
        """What the repository holds. `revision`: a branch, tag or commit."""
        url = f"{self.endpoint}/api/models/{name}/revision/{quote(revision, safe='')}"
        with self._connected():
            answer = self._http.get(url, params={"blobs": "true"})
        self._check(answer, name, f"revision {revision!r}")
        try:
            document = answer.json()
            files = tuple(_file(sibling) for sibling in document["siblings"])
            return Repository(name, str(document["sha"]), files)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CliError(
                f"{self.endpoint} does not answer as the hub does; is HF_ENDPOINT right, or does a proxy answer for it?"
            ) from None

    @contextmanager
    def content(self, repository: Repository, file: RemoteFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """A file's bytes from `start` on, or from wherever the hub begins: that is told with them."""
        url = f"{self.endpoint}/{repository.id}/resolve/{quote(repository.commit, safe='')}/{quote(file.path)}"
        # Packed content would not have the length and the places that we count in.
        headers = {"accept-encoding": "identity", **({"range": f"bytes={start}-"} if start else {})}
        with self._connected(), self._http.stream("GET", url, headers=headers) as answer:
            if answer.is_error:
                answer.read()
            self._check(answer, repository.id, f"file {file.path!r}")
            yield _first_byte(answer), self._pieces(answer)

    def _pieces(self, answer: httpx.Response) -> Iterator[bytes]:
        with self._connected():
            yield from answer.iter_raw()

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
            raise CliError(f"{self.endpoint} redirects to where nothing can be fetched: {error}") from None
        except httpx.HTTPError as error:
            raise Interrupted(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from None

    def _check(self, answer: httpx.Response, name: str, what: str) -> None:
        if answer.is_success:
            return
        status, code = answer.status_code, answer.headers.get("x-error-code", "")
        said = printable(answer.headers.get("x-error-message", ""))[:300]
        if status == 429 or status >= 500:
            after = _seconds(answer.headers.get("retry-after"))
            raise Interrupted(f"{self.endpoint} answered HTTP {status}", after, answered=True)
        raise CliError(self._refusal(status, code, said, name, what))

    def _refusal(self, status: int, code: str, said: str, name: str, what: str) -> str:
        page = f"{self.endpoint}/{name}"
        if code == "GatedRepo" or (status == 403 and "gated" in said.lower()):
            also = "" if self._token else " and set HF_TOKEN to a token of that account"
            return f"{name} is gated: open {page} with your account, accept its conditions{also}, then try again"
        if status == 401 and self._token and code != "RepoNotFound":
            return f"{self.endpoint} does not take the token in HF_TOKEN; make a new one in your account's settings"
        if code == "RevisionNotFound":
            return f"{name} has no {what}; {page} shows what there is"
        if code == "EntryNotFound":
            return f"{name} has no {what} any more; try again"
        if status in (401, 404):
            how = "HF_TOKEN belongs to no account that may read it" if self._token else "set HF_TOKEN if it is private"
            return f"there is no repository {name} at {self.endpoint}, or it is hidden: check the name, and {how}"
        told = f": {said}" if said else ""
        if status == 403:
            return f"{self.endpoint} refuses access to {name} (HTTP 403){told}; look at {page}, and at HF_TOKEN"
        return f"{self.endpoint} answered HTTP {status} for the {what} of {name}{told}"

    def unreachable(self, why: Interrupted) -> CliError:
        """What to say when trying again did not help."""
        if why.answered:
            after = f" in {why.after:.0f} s" if why.after else " in a while"
            return CliError(f"{why}: it is busy or broken; try again{after}, or name a mirror in HF_ENDPOINT")
        return CliError(
            f"cannot fetch from {self.endpoint} ({why}); is this machine online? HF_ENDPOINT names another hub or a"
            " mirror, HTTPS_PROXY a proxy; a GGUF file that is here already can be named in the model list"
        )


def parse_repository(text: str) -> tuple[str, str]:
    """ "ORG/NAME" or "ORG/NAME:FILE" as its two parts; FILE is "" when absent. Raises CliError."""
    name, _, file = text.strip().partition(":")
    if not REPOSITORY.fullmatch(name):
        raise CliError(f"{text!r} is not a repository of the hub; name one as ORG/NAME or ORG/NAME:FILE")
    return name, file


def _token(environment: Mapping[str, str]) -> str | None:
    """As the hub's own tools find it: HF_TOKEN, else the file in which `hf auth login` keeps one."""
    if told := (environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN") or "").strip():
        return told
    cache = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/nonexistent")) / ".cache"
    home = environment.get("HF_HOME") or Path(cache) / "huggingface"
    try:
        return Path(environment.get("HF_TOKEN_PATH") or Path(home) / "token").read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _file(sibling: dict[str, Any]) -> RemoteFile:
    large = sibling.get("lfs") or {}
    size = large.get("size", sibling.get("size"))
    sha256 = str(large["sha256"]).lower() if large.get("sha256") else None
    blob = str(sibling["blobId"]).lower() if sibling.get("blobId") and not large else None
    return RemoteFile(str(sibling["rfilename"]), int(size or 0), sha256, blob)


def _first_byte(answer: httpx.Response) -> int:
    """Where the body begins. A server that knows no ranges sends the whole."""
    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("content-range", ""))
    if not found:
        raise Interrupted("a part came without saying which")
    return int(found[1])


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None
