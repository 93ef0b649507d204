"""Rendering and counting a prompt so that a client's text is only ever text.

llama.cpp reads control tokens (<|im_start|>, <|im_end|>, …) wherever their letters stand in a rendered prompt, so a
message could end its own turn and speak as another role. Here such letters are taken out of the request before the
template sees it and put back as the tokens of plain text.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

import orjson

from services.inference.engines.llama.client import WorkerClient


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
        self._literals: dict[int, list[int]] = {}

    async def build(self, client: WorkerClient, conversation: dict[str, Any]) -> list[int]:
        """The prompt's token ids. Raises InvalidRequest (the template refuses it) and EngineUnavailable."""
        body = orjson.dumps(conversation).decode()
        if self._control is not None:
            body = self._control.sub(lambda match: f"{self._nonce}{self._numbers[match[0]]:06d}", body)
        rendered = await client.render(body.encode())
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

    async def _literal(self, client: WorkerClient, number: int) -> list[int]:
        """A control token's letters as plain text's tokens."""
        if number not in self._literals:
            self._literals[number] = await client.tokenize(self._tokens[number], special=False)
        return self._literals[number]
