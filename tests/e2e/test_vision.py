"""Images through the whole platform, with the official SDK: the shipped model with a projector of random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.pictures import IMAGE_TOKENS, data_uri, picture, written
from tests.worlds.processes import Account, Platform, running

LIST = """
models:
  muh-chat:
    engine: llama
    file: default
    projector: {projector}
    context_length: 2048
    abilities: [tools, json]
    price: {{input: 1000000, output: 3000000}}
  muh-blind:
    engine: llama
    file: default
    context_length: 2048
    price: {{input: 1000000, output: 3000000}}
"""
RED, BLUE = (written(picture(colour)) for colour in ("red", "blue"))
LARGE = written(picture("red", (700, 700)), compress_level=0)  # beyond what the stream carries


ARRIVED, LEFT = Event(), Event()


class Site(BaseHTTPRequestHandler):
    """A web site with pictures, and ways out of it."""

    def do_GET(self) -> None:
        files = {"/red.png": RED, "/text.png": b"no picture"}
        if self.path == "/silent.png":
            ARRIVED.set()
            self.connection.settimeout(30)
            if self.connection.recv(1) == b"":
                LEFT.set()
            return
        if self.path == "/inside":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2/secret.png")
            self.end_headers()
            return
        file = files.get(self.path)
        self.send_response(200 if file else 404)
        self.end_headers()
        self.wfile.write(file or b"")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory, projector: Path) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("seeing")
    models = folder / "models.yaml"
    models.write_text(LIST.format(projector=projector))
    env = {"MUHGPT_INFERENCE_IMAGES_ALLOWED": "127.0.0.1"}
    with running(folder / "data", "--models", str(models), env=env) as platform:
        yield platform


@pytest.fixture
def account(seeing: Platform) -> Account:
    return seeing.account()


@pytest.fixture
def client(seeing: Platform, account: Account) -> Iterator[OpenAI]:
    with seeing.openai(account.key) as made:
        yield made


def asked(*urls: str, model: str = "muh-chat", text: str = "What is it?", **fields: Any) -> dict[str, Any]:
    parts = [{"type": "text", "text": text}]
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    message = {"role": "user", "content": [*parts, *images]}
    return {"model": model, "messages": [message], "max_tokens": 8, "temperature": 0, **fields}


def counted(client: OpenAI, *urls: str) -> tuple[int, int]:
    """Prompt tokens, and the credits that the answer costs."""
    usage = client.chat.completions.create(**asked(*urls)).usage
    return usage.prompt_tokens, usage.prompt_tokens + 3 * usage.completion_tokens


def test_an_image_is_seen_counted_and_paid_for(seeing: Platform, account: Account, client: OpenAI, site: str) -> None:
    small, large, remote = data_uri(RED), data_uri(LARGE), f"{site}/red.png"
    plain, cost = counted(client)
    for urls in ((small,), (large,), (remote,), (small, remote, large)):
        tokens, credits = counted(client, *urls)
        assert tokens == plain + IMAGE_TOKENS * len(urls)
        cost += credits
    assert seeing.usage(account.key)["balance"] == 1_000_000 - cost


def test_what_the_image_shows_decides_the_answer(client: OpenAI) -> None:
    def chances(file: bytes) -> list[float]:
        answer = client.chat.completions.create(**asked(data_uri(file), logprobs=True, seed=3))
        assert answer.choices[0].logprobs is not None
        return [token.logprob for token in answer.choices[0].logprobs.content or ()]

    assert chances(RED) == chances(RED)
    assert chances(RED) != chances(BLUE)


@pytest.mark.parametrize("file", [RED, LARGE], ids=["small", "large"])
def test_streamed_or_not_it_is_the_same_answer_at_the_same_price(client: OpenAI, file: bytes) -> None:
    request = asked(data_uri(file), seed=4)
    whole = client.chat.completions.create(**request)
    chunks = list(client.chat.completions.create(**request, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def test_a_tool_is_called_about_an_image(client: OpenAI) -> None:
    parameters = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    tool = {"type": "function", "function": {"name": "name_colour", "parameters": parameters}}
    fields: dict[str, Any] = {"tools": [tool], "tool_choice": "required", "max_tokens": 100}
    answer = client.chat.completions.create(**asked(data_uri(RED), **fields))
    assert answer.choices[0].finish_reason == "tool_calls"
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments)["colour"] in ("red", "blue")


BAD: list[tuple[str, str]] = [
    (data_uri(b"no picture at all"), "invalid_image"),
    (data_uri(LARGE[:300_000]), "invalid_image"),
    (data_uri(written(picture(), "BMP"), "image/bmp"), "invalid_image"),
    (data_uri(written(picture((0,), (20_000, 20_000), "1"))), "invalid_image"),
    ("{site}/text.png", "invalid_image"),
    ("{site}/none.png", "invalid_image_url"),
    ("{site}/inside", "invalid_image_url"),
    ("http://127.0.0.2/", "invalid_image_url"),
    ("http://2130706434/", "invalid_image_url"),
    ("http://[::1]/", "invalid_image_url"),
    ("http://169.254.169.254/latest/meta-data/", "invalid_image_url"),
    ("http://localhost:1/", "invalid_image_url"),
]


@pytest.mark.parametrize(("url", "code"), BAD, ids=range(len(BAD)))
def test_a_bad_image_is_named_and_costs_nothing(
    seeing: Platform, account: Account, client: OpenAI, site: str, url: str, code: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**asked(data_uri(RED), url.replace("{site}", site), stream=stream))
        assert caught.value.code == code
        assert caught.value.param == "messages[0].content[2].image_url.url"
    assert seeing.usage(account.key)["balance"] == 1_000_000
    assert client.chat.completions.create(**asked(data_uri(RED))).choices


@pytest.mark.parametrize("first", [RED, LARGE], ids=["small", "large"])
def test_a_client_that_leaves_ends_the_download_of_its_image(
    seeing: Platform, account: Account, client: OpenAI, site: str, first: bytes
) -> None:
    ARRIVED.clear()
    LEFT.clear()

    def ask() -> None:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=1).chat.completions.create(**asked(data_uri(first), f"{site}/silent.png"))

    thread = Thread(target=ask)
    thread.start()
    assert ARRIVED.wait(20)
    assert LEFT.wait(5), "before the fetcher's own time of 10 s is over"
    thread.join()
    assert seeing.usage(account.key)["balance"] == 1_000_000


def test_a_model_without_vision_says_so_and_the_list_tells_which_have_it(client: OpenAI, site: str) -> None:
    for url in (data_uri(RED), data_uri(LARGE), f"{site}/red.png"):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**asked(url, model="muh-blind"))
        assert caught.value.code == "image_not_supported"
    abilities = {model.id: set(model.to_dict()["abilities"]) for model in client.models.list()}  # type: ignore[call-overload]
    assert abilities == {"muh-chat": {"tools", "json", "vision"}, "muh-blind": set()}


def test_the_list_of_models_tells_operators_too(seeing: Platform) -> None:
    told = {model["id"]: model["abilities"] for model in seeing.muhgpt("models")["models"]}
    assert told == {"muh-chat": ["tools", "vision", "json"], "muh-blind": []}


@pytest.mark.parametrize("detail", ["", "huge", 1])
def test_an_unknown_detail_is_refused(client: OpenAI, detail: object) -> None:
    part = {"type": "image_url", "image_url": {"url": data_uri(RED), "detail": detail}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="muh-chat", messages=[{"role": "user", "content": [part]}])  # type: ignore[list-item,misc]
    assert caught.value.param == "messages[0].content[0].image_url.detail"


@pytest.mark.long
def test_remote_images_can_be_switched_off(tmp_path: Path, projector: Path, site: str) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(LIST.format(projector=projector))
    env = {"MUHGPT_INFERENCE_IMAGES_REMOTE": "false", "MUHGPT_INFERENCE_IMAGES_ALLOWED": "127.0.0.1"}
    with (
        running(tmp_path / "data", "--models", str(models), env=env) as platform,
        platform.openai(platform.account().key) as client,
    ):
        with pytest.raises(openai.BadRequestError, match="switched off") as caught:
            client.chat.completions.create(**asked(f"{site}/red.png"))
        assert caught.value.code == "invalid_image_url"
        assert client.chat.completions.create(**asked(data_uri(RED))).choices
