"""Loading a request's images: what is refused before anything is fetched, how many at once, and what a failure ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.inference.domain.chat import ChatRequest, Image, Message, Picture, Role
from services.inference.domain.errors import (
    ImageNotSupported,
    InvalidImage,
    InvalidImageUrl,
    InvalidRequest,
    Overloaded,
)
from services.inference.domain.images import AT_ONCE, ImageLimits, ImageLoader
from services.inference.domain.preparation import Preparer
from services.inference.domain.registry import ModelCard, Registry
from tests.fakes_engine import MUH_CHAT, ScriptedEngine

LIMITS = ImageLimits(count=6, file_bytes=100, side=800, loading=3, loading_of_one=2)
SEEING = ModelCard("muh-eyes", (), 2048, frozenset({"vision"}), 0)


class Network:
    """A fetcher that holds every download until it is let go, and counts."""

    def __init__(self, *, held: bool = False) -> None:
        self.asked: list[str] = []
        self.cancelled = 0
        self.running = 0
        self.most = 0
        self.go = asyncio.Event()
        self.came = asyncio.Event()
        if not held:
            self.go.set()

    async def fetch(self, url: str, param: str) -> bytes:
        self.asked.append(url)
        self.running += 1
        self.most = max(self.most, self.running)
        self.came.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if "bad" in url:
            raise InvalidImageUrl("no", param=param)
        return url.encode()


class Eyes:
    """A decoder that takes a file for its own picture."""

    async def decode(self, file: bytes, side: int, param: str, account: str) -> Picture:
        if file == b"damaged":
            raise InvalidImage("damaged", param=param)
        return Picture(file, side, side)


def asked(*parts: str | Image, before: tuple[Message, ...] = ()) -> ChatRequest:
    return ChatRequest("muh-eyes", (*before, Message(Role.USER, parts)))


def link(name: str, **fields: Any) -> Image:
    return Image(url=f"https://example.com/{name}", **fields)


def jpegs(request: ChatRequest) -> list[bytes | str]:
    parts = [part for message in request.messages for part in message.content]
    assert not any(isinstance(part, Image) for part in parts)
    return [part.jpeg if isinstance(part, Picture) else str(part) for part in parts]


async def test_each_image_becomes_a_picture_in_its_place() -> None:
    before = (Message(Role.USER, (Image(data=b"one"), "then")), Message(Role.ASSISTANT, ("yes",)))
    loaded = await ImageLoader(Network(), Eyes(), LIMITS).load(asked("what", link("a"), "is", link("b"), before=before))
    assert jpegs(loaded) == [b"one", "then", "yes", "what", b"https://example.com/a", "is", b"https://example.com/b"]


async def test_low_detail_makes_a_smaller_picture() -> None:
    loaded = await ImageLoader(None, Eyes(), LIMITS).load(
        asked(*(Image(data=b"x", detail=detail) for detail in ("auto", "low", "high")))
    )
    assert [part.width for part in loaded.messages[0].content if isinstance(part, Picture)] == [800, 512, 800]


@pytest.mark.parametrize(
    ("part", "param", "error"),
    [
        (Image(data=b"x" * 101), "messages[0].content[1].image_url.url", InvalidImage),
        (Image(), "messages[0].content[1].image_url.url", InvalidImage),
        (Image(data=b"x", detail="huge"), "messages[0].content[1].image_url.detail", InvalidRequest),
    ],
)
async def test_a_wrong_image_is_named_before_any_is_fetched(
    part: Image, param: str, error: type[InvalidRequest]
) -> None:
    network = Network()
    with pytest.raises(error) as caught:
        await ImageLoader(network, Eyes(), LIMITS).load(asked(link("a"), part))
    assert caught.value.param == param
    assert not network.asked


async def test_the_first_image_too_many_is_named() -> None:
    with pytest.raises(InvalidImage, match="at most 6 images") as caught:
        await ImageLoader(None, Eyes(), LIMITS).load(asked("see", *[Image(data=b"x")] * 7))
    assert caught.value.param == "messages[0].content[7].image_url.url"
    assert await ImageLoader(None, Eyes(), LIMITS).load(asked(*[Image(data=b"x")] * 6))


async def test_urls_can_be_switched_off_and_files_still_be_sent() -> None:
    loader = ImageLoader(None, Eyes(), LIMITS)
    with pytest.raises(InvalidImageUrl, match="switched off here"):
        await loader.load(asked(link("a")))
    assert await loader.load(asked(Image(data=b"x")))


async def test_images_are_fetched_side_by_side_within_a_bound() -> None:
    network = Network(held=True)
    loading = asyncio.create_task(ImageLoader(network, Eyes(), LIMITS).load(asked(*(link(str(i)) for i in range(6)))))
    async with asyncio.timeout(5):
        while network.running < AT_ONCE:
            await network.came.wait()
            network.came.clear()
    network.go.set()
    await loading
    assert network.most == AT_ONCE
    assert len(network.asked) == 6


async def test_an_account_that_names_slow_sites_holds_up_only_itself() -> None:
    network = Network(held=True)
    loader = ImageLoader(network, Eyes(), LIMITS)
    slow = [asyncio.create_task(loader.load(asked(*(link(str(i)) for i in range(6))), "slow")) for _ in range(2)]
    async with asyncio.timeout(5):
        while network.running < AT_ONCE:
            await network.came.wait()
            network.came.clear()
    assert await loader.load(asked(Image(data=b"x")), "quick")
    assert network.most == AT_ONCE
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


@pytest.mark.parametrize("parts", [(link("bad"),), (Image(data=b"damaged"),)])
async def test_one_failure_is_the_requests_and_names_its_image(parts: tuple[Image]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await ImageLoader(Network(), Eyes(), LIMITS).load(asked(link("a"), *parts, link("b")))
    assert caught.value.param == "messages[0].content[1].image_url.url"


async def test_a_client_that_leaves_ends_its_downloads_and_frees_its_place() -> None:
    network = Network(held=True)
    loader = ImageLoader(network, Eyes(), LIMITS)
    loading = [asyncio.create_task(loader.load(asked(link("a"), link("b")))) for _ in range(2)]
    async with asyncio.timeout(5):
        while network.running < 4:
            await network.came.wait()
            network.came.clear()
    with pytest.raises(Overloaded):
        await loader.load(asked(link("c")))
    other = asyncio.create_task(loader.load(asked(link("c")), "another account"))
    async with asyncio.timeout(5):
        while network.running < 5:
            await network.came.wait()
            network.came.clear()
    with pytest.raises(Overloaded):
        await loader.load(asked(link("c")), "a third")
    other.cancel()
    for task in loading:
        task.cancel()
    await asyncio.gather(other, *loading, return_exceptions=True)
    assert network.cancelled == 5
    network.go.set()
    assert await loader.load(asked(link("c")))


async def test_pictures_are_bounded_in_memory_for_as_long_as_a_request_lives() -> None:
    loader = ImageLoader(None, Eyes(), ImageLimits(memory=200))
    image = Image(data=b"x" * 100)
    first, second = await loader.load(asked(image)), await loader.load(asked(image))
    with pytest.raises(Overloaded):
        await loader.load(asked(image))
    assert await loader.load(asked("text alone"))
    assert first
    del second
    await asyncio.sleep(0)  # the loop lets go of what it has finished
    assert await loader.load(asked(image))


async def test_files_that_are_loaded_are_bounded_and_one_account_has_half_of_them() -> None:
    network = Network(held=True)
    loader = ImageLoader(network, Eyes(), ImageLimits(memory=400, file_bytes=100))
    waiting = [asyncio.create_task(loader.load(asked(link("a")), "greedy")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await loader.load(asked(Image(data=b"x" * 100)), "greedy")
    assert await loader.load(asked(Image(data=b"x" * 100)), "modest")
    more = asyncio.create_task(loader.load(asked(link("a"), link("b")), "third"))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await loader.load(asked(Image(data=b"x")), "fourth")
    network.go.set()
    assert all(await asyncio.gather(*waiting, more))
    assert await loader.load(asked(Image(data=b"x" * 100)), "fourth")


async def test_a_single_request_is_taken_whatever_its_size() -> None:
    assert await ImageLoader(None, Eyes(), ImageLimits(memory=50)).load(asked(Image(data=b"x" * 100)))


async def test_only_models_with_vision_have_images_loaded() -> None:
    network, blind, seeing = Network(), ScriptedEngine("a"), ScriptedEngine("a", vision=True)
    registry = Registry([(MUH_CHAT, blind), (SEEING, seeing)])
    preparer = Preparer(registry, images=ImageLoader(network, Eyes(), LIMITS))
    request = asked("what", link("a"))
    await preparer.prepare(request)
    assert jpegs(seeing.requests[0]) == ["what", b"https://example.com/a"]
    with pytest.raises(ImageNotSupported) as caught:
        await preparer.prepare(ChatRequest("muh-chat", request.messages))
    assert caught.value.param == "messages[0].content[1].image_url"
    assert len(network.asked) == 1
    assert not blind.requests
    with pytest.raises(ImageNotSupported):
        await Preparer(registry).prepare(request)
