"""From the images that a client sent to pictures that an engine may see: fetched, checked, decoded, written again."""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from services.inference import metrics
from services.inference.domain.chat import ChatRequest, Image, Message, Picture
from services.inference.domain.errors import (
    ImageNotSupported,
    InvalidImage,
    InvalidImageUrl,
    InvalidRequest,
    Overloaded,
)

DETAILS = ("auto", "low", "high")
LOW_SIDE = 512  # pixels: what OpenAI's `low` means
AT_ONCE = 4  # images of one account that are worked on side by side: a slow site is to hold up who named it, not all
RETRY_AFTER = 1.0  # seconds


@dataclass(frozen=True)
class ImageLimits:
    """Bounds of images, by the operator's settings. Sizes in bytes and pixels."""

    count: int = 16  # of one request
    file_bytes: int = 10 * 1024 * 1024
    side: int = 1024  # of what the engine is given; larger pictures are made smaller
    loading: int = 64  # requests whose images are loaded at a time …
    loading_of_one: int = 16  # … and those of one account
    memory: int = 128 * 1024 * 1024  # files that are loaded, and pictures of requests that are prepared or generating


class Fetcher(Protocol):
    """Downloads from hosts that the client chose."""

    async def fetch(self, url: str, param: str) -> bytes:
        """The file at an http(s) URL. Raises InvalidImageUrl that names `param`."""
        ...


class Decoder(Protocol):
    """Decodes files that may be made to hurt."""

    async def decode(self, file: bytes, side: int, param: str, account: str) -> Picture:
        """A file as a picture, its longer side at most `side` pixels. Raises InvalidImage that names `param`."""
        ...


class _Line:
    """The requests of one account whose images are loaded."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0  # of their files
        self.turn = asyncio.Semaphore(AT_ONCE)


class ImageLoader:
    """Loads a request's images. `fetcher` None: the operator has switched images from URLs off."""

    def __init__(self, fetcher: Fetcher | None, decoder: Decoder, limits: ImageLimits | None = None) -> None:
        self._fetcher = fetcher
        self._decoder = decoder
        self._limits = limits or ImageLimits()
        self._loading = 0
        self._lines: dict[str, _Line] = {}  # of accounts that have images loaded now
        self._alive = 0  # bytes of files that are loaded, and of pictures that somebody holds

    async def load(self, request: ChatRequest, account_id: str = "") -> ChatRequest:
        """The request with a Picture in the place of each Image.

        Raises InvalidImage and InvalidImageUrl that name the image (messages[0].content[1].image_url.url); Overloaded.
        """
        images = self._images(request)
        if not images:
            return request
        with self._in_line(account_id, self._size(images.values())) as turn:
            work = [partial(self._load, image, place, account_id) for place, image in images.items()]
            pictures = await _side_by_side(work, turn)
        return _with_pictures(request, dict(zip(images, pictures, strict=True)))

    @contextmanager
    def _in_line(self, account_id: str, size: int) -> Iterator[asyncio.Semaphore]:
        """A request's place, and what its account's images take turns with. Raises Overloaded.

        `size`: bytes of its files. All requests' files and pictures together keep to the memory for them, and one
        account's files to half of it; a single request is taken whatever its size.
        """
        limits, line = self._limits, self._lines.get(account_id) or _Line()
        full = self._loading >= limits.loading or line.requests >= limits.loading_of_one
        full = full or (line.bytes > 0 and line.bytes + size > limits.memory // 2)
        if full or self._alive >= limits.memory or (self._alive > 0 and self._alive + size > limits.memory):
            raise Overloaded("too many requests with images are under way", retry_after=RETRY_AFTER)
        self._lines[account_id] = line
        self._count(line, 1, size)
        try:
            yield line.turn
        finally:
            self._count(line, -1, -size)
            if not line.requests:
                del self._lines[account_id]

    def _count(self, line: _Line, requests: int, size: int) -> None:
        self._loading, self._alive = self._loading + requests, self._alive + size
        line.requests, line.bytes = line.requests + requests, line.bytes + size

    def _size(self, images: Collection[Image]) -> int:
        """What their files take; of those that are yet to be downloaded, as many at once as may be."""
        to_fetch = sum(1 for image in images if image.url)
        return sum(len(image.data) for image in images) + min(to_fetch, AT_ONCE) * self._limits.file_bytes

    def _images(self, request: ChatRequest) -> dict[tuple[int, int], Image]:
        """All images by their places, cheap faults found before the first is fetched."""
        found = {
            (index, number): part
            for index, message in enumerate(request.messages)
            for number, part in enumerate(message.content)
            if isinstance(part, Image)
        }
        for count, (place, image) in enumerate(found.items(), 1):
            self._check(count, image, _param(place))
        return found

    def _check(self, count: int, image: Image, param: str) -> None:
        if count > self._limits.count:
            raise InvalidImage(f"at most {self._limits.count} images are accepted in a request", param=param)
        if image.detail not in DETAILS:
            known = ", ".join(DETAILS)
            raise InvalidRequest(f"detail must be one of {known}", param=param.removesuffix("url") + "detail")
        if bool(image.data) == bool(image.url):
            raise InvalidImage(f"{param} holds no image", param=param)
        if len(image.data) > self._limits.file_bytes:
            raise InvalidImage(f"{param} is larger than {self._limits.file_bytes:,} bytes", param=param)
        if image.url and self._fetcher is None:
            problem = "images from URLs are switched off here; send the image itself, as a data: URI"
            raise InvalidImageUrl(problem, param=param)

    async def _load(self, image: Image, place: tuple[int, int], account_id: str) -> Picture:
        source, outcome = "url" if image.url else "data", "failed"
        try:
            picture = await self._picture(image, _param(place), account_id)
            outcome = "loaded"
        except InvalidRequest as refused:
            outcome = refused.reason.lower()
            raise
        finally:
            metrics.IMAGES.labels(source, outcome).inc()
        self._alive += len(picture.jpeg)
        weakref.finalize(picture, self._forget, len(picture.jpeg)).atexit = False
        return picture

    async def _picture(self, image: Image, param: str, account_id: str) -> Picture:
        file = image.data
        if image.url:
            assert self._fetcher is not None
            file = await self._fetcher.fetch(image.url, param)
        side = min(LOW_SIDE, self._limits.side) if image.detail == "low" else self._limits.side
        return await self._decoder.decode(file, side, param, account_id)

    def _forget(self, size: int) -> None:
        self._alive -= size


def refuse_images(request: ChatRequest, model: str) -> None:
    """Raises ImageNotSupported, naming the first image, when there is one."""
    for index, message in enumerate(request.messages):
        for number, part in enumerate(message.content):
            if not isinstance(part, str):
                param = f"messages[{index}].content[{number}].image_url"
                raise ImageNotSupported(f"the model {model} cannot take images", param=param)


def _param(place: tuple[int, int]) -> str:
    return f"messages[{place[0]}].content[{place[1]}].image_url.url"


async def _side_by_side(work: Sequence[Callable[[], Awaitable[Picture]]], turn: asyncio.Semaphore) -> list[Picture]:
    """The results in order; the first failure ends the rest and is raised as it is."""

    async def one(step: Callable[[], Awaitable[Picture]]) -> Picture:
        async with turn:
            return await step()

    tasks = [asyncio.ensure_future(one(step)) for step in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _with_pictures(request: ChatRequest, pictures: dict[tuple[int, int], Picture]) -> ChatRequest:
    def replaced(index: int, message: Message) -> Message:
        if not message.has_images:
            return message
        content = (pictures.get((index, number), part) for number, part in enumerate(message.content))
        return dataclasses.replace(message, content=tuple(content))

    messages = tuple(replaced(index, message) for index, message in enumerate(request.messages))
    return dataclasses.replace(request, messages=messages)
