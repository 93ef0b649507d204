"""The chat template: one Jinja file that training renders here and llama.cpp renders from the GGUF."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

TEMPLATE_PATH = Path(__file__).with_name("chat_template.jinja")


def _tojson(value: Any, separators: tuple[str, str] | None = None) -> str:
    """JSON as llama.cpp's `tojson` writes it: keys in their order and no HTML escapes, unlike Jinja's own."""
    return json.dumps(value, ensure_ascii=False, separators=separators)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(keep_trailing_newline=False, autoescape=False)
    environment.filters["tojson"] = _tojson
    return environment.from_string(TEMPLATE_PATH.read_text(encoding="utf-8"))


def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None, *, prompt: bool = False) -> str:
    """The text of a conversation; with `prompt` it ends where the assistant's next turn begins."""
    return _template().render(messages=messages, tools=tools, add_generation_prompt=prompt)
