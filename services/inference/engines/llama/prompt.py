"""Rendering and counting a prompt so that a client's text is only ever text.

llama.cpp reads control tokens (<|im_start|>, <|im_end|>, …) wherever their letters stand in a rendered prompt, so a
message could end its own turn and speak as another role. Here such letters are taken out of the request before the
template sees it and put back as the tokens of plain text. A prompt with pictures llama.cpp takes as text only, not as
tokens: there such letters are kept apart by a character without width.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from services.inference.domain.chat import Picture
from services.inference.domain.errors import InvalidRequest
from services.inference.engines.llama.client import WorkerClient

APART = "\u2060"  # word joiner: no width, no break
UNKNOWN = "\ufffd"
NO_FILE = "AA=="  # base64 of one byte


@dataclass(frozen=True)
class JsonString:
    """A text that the worker is given as a JSON string within a string, so that its own parser finds just that text."""

    text: str


@dataclass(frozen=True)
class Illustrated:
    """A prompt with pictures: its text, in which the marker stands for each, their files in base64, and how many tokens
    all of it takes."""

    text: str
    files: list[str]
    tokens: int


class PromptBuilder:
    """Makes token ids of conversations for one model with these control tokens."""

    def __init__(self, control_tokens: Sequence[str]) -> None:
        longest_first = sorted(control_tokens, key=len, reverse=True)
        self._numbers = {token: number for number, token in enumerate(longest_first)}
        self._tokens = longest_first
        self._control = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        # Letters and digits only, so that templates and JSON pass it on; random, so that no client can write it.
        self._nonce = f"q{secrets.token_hex(12)}x"
        self._marks = re.compile(rf"{self._nonce}(\d{{6}})")
        self._places = re.compile(rf"{self._nonce}p(\d{{6}})")
        self._literals: dict[int, list[int]] = {}

    async def build(self, client: WorkerClient, conversation: dict[str, Any]) -> list[int]:
        """The prompt's token ids. Raises InvalidRequest (the template refuses it) and EngineUnavailable."""
        body = orjson.dumps(_rewritten(conversation, self._marked))
        rendered = await client.render(body)
        pieces = self._marks.split(rendered)  # text, number, text, number, …, text
        if len(pieces) == 1:
            return await client.tokenize(rendered, special=True)
        mixed: list[str | int] = []
        for index, piece in enumerate(pieces):
            if index % 2:
                mixed += await self._literal(client, int(piece))
            elif piece:
                mixed.append(piece)
        return await client.tokenize(mixed, special=True)

    async def illustrate(self, client: WorkerClient, conversation: dict[str, Any], marker: str) -> Illustrated:
        """The prompt of a conversation that holds Pictures. Raises InvalidRequest and EngineUnavailable.

        It is rendered without the pictures' files, which would only be dropped, and counted with them.
        """
        files: list[str] = []
        body = orjson.dumps(
            _rewritten(conversation, self._kept_apart),
            default=lambda picture: self._part(picture, files),
            option=orjson.OPT_PASSTHROUGH_DATACLASS,
        ).decode()
        text = await client.render(self._places.sub(NO_FILE, body).encode())
        if text.count(marker) != len(files):
            raise InvalidRequest("the model's chat template has no place for these images", param="messages")
        tokens = await client.count(self._places.sub(lambda match: files[int(match[1])], body).encode())
        return Illustrated(text, files, tokens)

    def _marked(self, text: str) -> str:
        if self._control is None:
            return text
        return self._control.sub(lambda match: f"{self._nonce}{self._numbers[match[0]]:06d}", text)

    def _kept_apart(self, text: str) -> str:
        return text if self._control is None else self._control.sub(lambda match: _apart(match[0]), text)

    def _part(self, picture: Picture, files: list[str]) -> dict[str, Any]:
        """A picture in the conversation: at first only its place, so that nothing is looked for in its file."""
        files.append(base64.b64encode(picture.jpeg).decode())
        place = f"{self._nonce}p{len(files) - 1:06d}"
        return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{place}"}}

    async def _literal(self, client: WorkerClient, number: int) -> list[int]:
        """A control token's letters as plain text's tokens."""
        if number not in self._literals:
            self._literals[number] = await client.tokenize(self._tokens[number], special=False)
        return self._literals[number]


def _rewritten(value: Any, rewrite: Callable[[str], str]) -> Any:
    """A conversation with each of its strings rewritten, names too: before they are JSON, whose escapes would hide what
    is looked for. Its depth is bounded (json_text.py)."""
    if isinstance(value, str):
        return rewrite(value)
    if isinstance(value, JsonString):
        return orjson.dumps(rewrite(value.text)).decode()
    if isinstance(value, list):
        return [_rewritten(item, rewrite) for item in value]
    if isinstance(value, dict):
        return {rewrite(name): _rewritten(item, rewrite) for name, item in value.items()}
    return value


def _apart(token: str) -> str:
    """A control token's letters, so that they are none."""
    return APART.join(token) if len(token) > 1 else UNKNOWN
