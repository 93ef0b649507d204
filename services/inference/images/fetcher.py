"""Downloads images from hosts that clients chose, and can be made to reach no others (server-side request forgery).

Each host is resolved once, all of its addresses must be public, and the connection goes to just these: a name that
means something else a moment later (DNS rebinding) gains nothing. Redirects are followed by hand, each checked alike.
What a client is told about a failure tells nothing of the network that this service stands in.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from services.inference.domain.addresses import Address, AllowList, is_public, literal
from services.inference.domain.errors import InvalidImageUrl

LONGEST_URL = 8192
REDIRECTS = 3
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
HEADERS = {
    "User-Agent": "MUHGPT image fetcher",
    "Accept": "image/png, image/jpeg, image/webp, image/gif",
    "Accept-Encoding": "identity",  # images are compressed already, and what need not be unpacked cannot explode
}
CHUNK = 64 * 1024
MOST_ADDRESSES = 64  # of one name

Lookup = Callable[[str], Awaitable[list[str]]]  # a name to the addresses it stands for; raises OSError


@dataclass(frozen=True)
class FetchLimits:
    """Bounds of downloads, by the operator's settings. Times in seconds."""

    file_bytes: int = 10 * 1024 * 1024
    timeout: float = 10.0  # for one image, redirects and all
    connect_timeout: float = 5.0
    at_once: int = 32  # downloads of all requests together
    ports: frozenset[int] = frozenset({80, 443})
    allowed: AllowList = field(default_factory=AllowList)


class _Refused(Exception):
    """The download failed; the text ends a sentence that began with the image's name."""


UNREACHED = "could not be downloaded: its host does not answer, or is not on the public internet"


class ImageFetcher:
    """Implements domain.images.Fetcher. `lookup` replaces the system's resolver."""

    def __init__(self, limits: FetchLimits | None = None, lookup: Lookup | None = None) -> None:
        self._limits = limits or FetchLimits()
        # Of its own: names whose servers do not answer hold their threads for long, and others need the loop's.
        self._threads = ThreadPoolExecutor(self._limits.at_once, thread_name_prefix="image-dns")
        self._turns = asyncio.Semaphore(self._limits.at_once)
        resolver = _GuardedResolver(lookup or self._system_lookup, self._limits.allowed)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers=HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_timeout),
        )

    async def fetch(self, url: str, param: str) -> bytes:
        """See domain/images.py. Waits for its turn when many are under way."""
        try:
            async with self._turns, asyncio.timeout(self._limits.timeout):
                return await self._follow(url)
        except _Refused as refused:
            problem = str(refused)
        except TimeoutError:
            problem = f"could not be downloaded within {self._limits.timeout:g} s"
        except (aiohttp.ClientError, OSError):
            problem = UNREACHED
        raise InvalidImageUrl(f"{param} {problem}", param=param)

    async def close(self) -> None:
        """Ends all downloads."""
        await self._http.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _follow(self, text: str) -> bytes:
        url = self._checked(text)
        for _ in range(REDIRECTS + 1):
            async with self._http.get(url, allow_redirects=False) as response:
                if response.status not in REDIRECT_STATUSES or "Location" not in response.headers:
                    return await self._read(response)
                url = self._checked(response.headers["Location"], base=url)
        raise _Refused(f"could not be downloaded: it was redirected more than {REDIRECTS} times")

    def _checked(self, text: str, base: URL | None = None) -> URL:
        if len(text) > LONGEST_URL:
            raise _Refused(f"is longer than {LONGEST_URL:,} characters")
        try:
            url = URL(text) if base is None else base.join(URL(text))
            host, port = url.raw_host, url.port
        except (ValueError, IndexError):  # yarl's parser lets an IndexError out for some malformed hosts
            raise _Refused("is not a valid URL") from None
        if url.scheme not in ("http", "https") or not host or not port:
            raise _Refused("must be an http or https URL")
        if url.raw_user is not None or url.raw_password is not None:
            raise _Refused("must not hold a user name or password")
        self._check_host(host, port)
        return url.with_fragment(None)

    def _check_host(self, host: str, port: int) -> None:
        limits = self._limits
        try:
            address = literal(host)
        except ValueError:
            raise _Refused(UNREACHED) from None
        trusted = limits.allowed.has_host(host) if address is None else limits.allowed.has(address)
        if address is not None and not trusted and not is_public(address):
            raise _Refused(UNREACHED)
        if port not in limits.ports and not trusted:
            raise _Refused(f"must use one of the ports {', '.join(map(str, sorted(limits.ports)))}")

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if response.status != 200:
            raise _Refused(f"could not be downloaded: the answer's status was {response.status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _Refused("could not be downloaded: the answer is compressed, though that was not asked for")
        most = self._limits.file_bytes
        if (response.content_length or 0) > most:
            raise _Refused(f"is larger than {most:,} bytes")
        file = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK):
            file += chunk
            if len(file) > most:
                raise _Refused(f"is larger than {most:,} bytes")
        return bytes(file)

    async def _system_lookup(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            )
        except UnicodeError:  # from Python's codec for names: a label that is empty or longer than 63 letters
            raise OSError("not a name that DNS could have") from None
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _GuardedResolver(AbstractResolver):
    """Gives aiohttp the addresses to connect to: those that were checked, or none."""

    def __init__(self, lookup: Lookup, allowed: AllowList) -> None:
        self._lookup = lookup
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """All addresses of a name. Raises OSError when there is none, or one that may not be reached."""
        addresses = [ip_address(text) for text in (await self._lookup(host))[:MOST_ADDRESSES]]
        if not addresses or not all(self._allowed.has_host(host) or self._may(address) for address in addresses):
            raise OSError("no address that may be reached")
        return [_result(host, port, address) for address in addresses]

    def _may(self, address: Address) -> bool:
        return is_public(address) or self._allowed.has(address)

    async def close(self) -> None:
        """It holds nothing."""


def _result(host: str, port: int, address: Address) -> ResolveResult:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=str(address), port=port, family=family, proto=0, flags=flags)
