"""Renders a conversation with a model's own chat template, as Hugging Face's tools do. Only counting processes run it.

The template is the operator's, but what a client writes runs through it: so it is sandboxed, and its process bounded in
memory and killed when it takes too long.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
import orjson
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEMPLATE_BYTES = 1024 * 1024
_OVER_PARTS = re.compile(r"for\s+\w+\s+in\s+[\w.\[\]'\"]*content\b")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


class TemplateRefuses(Exception):
    """The template says that it can't render this conversation, or it failed."""


def read_template(file: Path) -> tuple[str, dict[str, str]]:
    """The template beside a tokenizer.json and the special tokens it may name. Raises OSError and ValueError.

    chat_template.jinja comes first, then tokenizer_config.json's `chat_template`, then chat_template.json's.
    """
    config = _json_of(file.with_name("tokenizer_config.json"))
    beside = file.with_name("chat_template.jinja")
    source = beside.read_text() if beside.exists() else _named(config.get("chat_template"))
    source = source or _named(_json_of(file.with_name("chat_template.json")).get("chat_template"))
    if not source:
        raise ValueError(
            "beside it stands neither chat_template.jinja nor a tokenizer_config.json with a chat_template"
        )
    if len(source) > MAX_TEMPLATE_BYTES:
        raise ValueError(f"its chat template has more than {MAX_TEMPLATE_BYTES} characters")
    tokens = {name: token for name in _SPECIAL if (token := _token(config.get(name)))}
    return source, tokens


class ChatTemplate:
    """A compiled template. Raises ValueError when it is not one."""

    def __init__(self, source: str, tokens: dict[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _now
        self._tokens = tokens
        self._takes_parts = _OVER_PARTS.search(source) is not None
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ValueError(f"its chat template does not compile: {error}") from None

    def render(self, conversation: dict[str, Any]) -> str:
        """The prompt of a conversation (conversation.py). Raises TemplateRefuses."""
        messages = [self._message(message) for message in conversation["messages"]]
        tools = [_tool(tool) for tool in conversation["tools"]] or None
        try:
            return self._template.render(messages=messages, tools=tools, add_generation_prompt=True, **self._tokens)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise TemplateRefuses(type(error).__name__) from None

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        """As vLLM hands one over: arguments as objects, texts joined unless the template goes through parts."""
        parts = message["content"]
        written: dict[str, Any] = {
            "role": message["role"],
            "content": "\n".join(p for p in parts if isinstance(p, str)),
        }
        if self._takes_parts and len(parts) > 1:
            written["content"] = [
                {"type": "text", "text": p} if isinstance(p, str) else {"type": "image"} for p in parts
            ]
        if not parts and message["tool_calls"]:
            written["content"] = None
        if message["name"]:
            written["name"] = message["name"]
        if message["tool_call_id"]:
            written["tool_call_id"] = message["tool_call_id"]
        if message["tool_calls"]:
            written["tool_calls"] = [_call(call) for call in message["tool_calls"]]
        return written


class _Generation(jinja2.ext.Extension):
    """Hugging Face's {% generation %} marks what a model has written; for rendering it says nothing."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's own form)

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """vLLM takes arguments that are no object for none."""
    arguments = _parsed(call["arguments"])
    function = {"name": call["name"], "arguments": arguments if isinstance(arguments, dict) else {}}
    return {"type": "function", "id": call["id"], "function": function}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """What is absent is null, as vLLM and SGLang write it."""
    function: dict[str, Any] = {
        "name": tool["function"]["name"],
        "description": None,
        "parameters": None,
    }
    return {"type": "function", "function": function | tool["function"]}


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> str:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)  # noqa: TID251, DTZ005 (what templates expect: the local day)


def _json_of(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    document = orjson.loads(file.read_bytes())
    return document if isinstance(document, dict) else {}


def _named(templates: Any) -> str:
    """A template, or the default one of several."""
    if isinstance(templates, list):
        named = {item.get("name"): item.get("template") for item in templates if isinstance(item, dict)}
        templates = named.get("default")
    return templates if isinstance(templates, str) else ""


def _token(value: Any) -> str:
    """A special token: its text, or an object that holds it."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""
