"""Grammars that hold an answer to JSON or to a tool call: LLGuidance's text, which llama.cpp takes in place of GBNF.

The worker's own tool_choice and response_format are not used: they force nothing or end in exceptions (docs/engine.md).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from services.inference.domain.chat import ChatRequest, FormatKind, ResponseFormat, Tool, ToolMode
from services.inference.domain.errors import InvalidRequest
from services.inference.domain.json.loosening import Hold
from services.inference.domain.json.schema import parse_schema
from services.inference.domain.tool_calls import CLOSE, OPEN
from services.inference.engines.llama.client import WorkerClient

# With it models without an end in sight fill their answers with spaces (docs/engine.md).
RIGID = {"x-guidance": {"whitespace_flexible": False}}
MAX_PROVED = 512  # grammars remembered, as used or not
LINE = "\n"
FOREIGN = "~"  # begins neither JSON nor a call


def grammar_of(request: ChatRequest, hold: Hold = Hold.WHOLE) -> str | None:
    """The grammar of a request's answer; None: free text. Raises InvalidRequest that names the schema in question.

    `hold`: how much of schemas that are not strict.
    """
    if calls_in_text(request):
        return _text_and_calls(_callable(request), hold)
    tools = _callable(request)
    if tools and not _may_answer(request):
        return _text("call", _call(tools, hold))
    answer = _answer(request.response_format, hold)
    if answer is None:
        return None
    if tools:
        return _text("answer | call", [*_call(tools, hold, loose=True), f"answer: %json {answer}"])
    return _text("answer", [f"answer: %json {answer}"])


def grammar_to_prove(request: ChatRequest, hold: Hold = Hold.WHOLE) -> str | None:
    """One that begins with neither text nor anything else that proves nothing, and is sound when grammar_of's is."""
    if calls_in_text(request):
        return _text("call", _call(_callable(request), hold, loose=True))
    return grammar_of(request, hold)


def calls_in_text(request: ChatRequest) -> bool:
    """Whether the model writes freely and may call in between, as with tool_choice "auto" and no other form asked."""
    free = request.response_format.kind is FormatKind.TEXT
    return free and bool(_callable(request)) and _may_answer(request)


def grammar_sources(request: ChatRequest) -> Iterator[tuple[str, str]]:
    """The schemas within a request's grammar: each one's field and a grammar of it alone, to find which is to blame
    when not even the form of those that are not strict can be held."""
    loose = _may_answer(request)
    for index, tool in _callable(request):
        yield f"tools[{index}].function.parameters", _text("call", _call([(index, tool)], Hold.FORM, loose=loose))
    if _may_answer(request) and (answer := _answer(request.response_format, Hold.FORM)) is not None:
        yield "response_format", _text("answer", [f"answer: %json {answer}"])


def _callable(request: ChatRequest) -> list[tuple[int, Tool]]:
    """The tools that may be called, with their places in the request."""
    if not request.may_call_tools:
        return []
    named = request.tool_choice.mode is ToolMode.FUNCTION
    return [(i, tool) for i, tool in enumerate(request.tools) if not named or tool.name == request.tool_choice.name]


def _may_answer(request: ChatRequest) -> bool:
    """Whether text is allowed instead of a call."""
    return not request.tools or request.tool_choice.mode in (ToolMode.AUTO, ToolMode.NONE)


def _answer(wanted: ResponseFormat, hold: Hold) -> str | None:
    if wanted.kind is FormatKind.TEXT:
        return None
    if wanted.kind is FormatKind.JSON_OBJECT:
        return json.dumps({"type": "object", **RIGID})
    param = "response_format.json_schema.schema"
    return json.dumps({**parse_schema(wanted.schema, param, strict=bool(wanted.strict), hold=hold), **RIGID})


def _text_and_calls(tools: Sequence[tuple[int, Tool]], hold: Hold) -> str:
    """Whatever the model likes, but where it opens a call, a call follows."""
    line = json.dumps(LINE)
    return _text(
        f"(opened {line}? ({_one_of(tools)}) {line}? {json.dumps(CLOSE)})* REST",
        [
            f"opened[suffix={json.dumps(OPEN)}]: /(?s:.*)/",
            f"REST: /(?s:.*)/ & ~/(?s:.*{OPEN}.*)/",
            *_tools(tools, hold, loose=True),
        ],
    )


def _call(tools: Sequence[tuple[int, Tool]], hold: Hold, *, loose: bool = False) -> list[str]:
    call = f"call: {json.dumps(OPEN + LINE)} ({_one_of(tools)}) {json.dumps(LINE + CLOSE)}"
    return [call, *_tools(tools, hold, loose=loose)]


def _one_of(tools: Sequence[tuple[int, Tool]]) -> str:
    return " | ".join(f"tool{index}" for index, _ in tools)


def _tools(tools: Sequence[tuple[int, Tool]], hold: Hold, *, loose: bool) -> list[str]:
    rules: list[str] = []
    for index, tool in tools:
        arguments = _loose_arguments(tool, index, hold) if loose else _arguments(tool, index, hold)
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": arguments},
            "required": ["name", "arguments"],
            "additionalProperties": False,
            **({"$defs": arguments.pop("$defs")} if "$defs" in arguments else {}),
            **RIGID,
        }
        rules.append(f"tool{index}: %json {json.dumps(schema)}")
    return rules


def _loose_arguments(tool: Tool, index: int, hold: Hold) -> dict[str, Any]:
    """Of a tool that nobody insists on and whose schema may be anybody's: any object where that is too much."""
    try:
        return _arguments(tool, index, hold)
    except InvalidRequest:
        if tool.strict:
            raise
        return {"type": "object"}


def _arguments(tool: Tool, index: int, hold: Hold) -> dict[str, Any]:
    if not tool.parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    param = f"tools[{index}].function.parameters"
    return {"type": "object", **parse_schema(tool.parameters, param, strict=bool(tool.strict), hold=hold)}


def _text(start: str, rules: list[str]) -> str:
    return "\n".join(["%llguidance {}", f"start: {start}", *rules])


class GrammarProof:
    """Makes sure that a grammar is really used.

    The worker ignores a grammar that it cannot compile and says nothing. So a grammar not met before generates one
    token under a bias toward a character that it forbids: when that character comes, the grammar was dropped.
    """

    def __init__(self) -> None:
        self._proved: OrderedDict[str, bool] = OrderedDict()

    async def prove(self, client: WorkerClient, request: ChatRequest) -> str | None:
        """The grammar of a request's answer, which is used: it holds as much as can be held of schemas that are not
        strict. Needs a slot for a moment. Raises InvalidRequest, naming the first schema that is to blame.
        """
        for hold in Hold:
            grammar = grammar_to_prove(request, hold)
            if grammar is None or await self._used(client, grammar):
                return grammar_of(request, hold)
        param = "tools"  # when each is sound and only all of them together are too much
        for field, alone in grammar_sources(request):
            if not await self._used(client, alone):
                param = field
                break
        raise InvalidRequest("the engine cannot hold an answer to this schema; simplify it", param=param)

    async def _used(self, client: WorkerClient, grammar: str) -> bool:
        if grammar in self._proved:
            self._proved.move_to_end(grammar)
            return self._proved[grammar]
        used = self._proved[grammar] = await _is_used(client, grammar)
        if len(self._proved) > MAX_PROVED:
            self._proved.popitem(last=False)
        return used


async def _is_used(client: WorkerClient, grammar: str) -> bool:
    foreign = (await client.tokenize(FOREIGN, special=False))[0]
    body = {
        "prompt": [foreign],
        "n_predict": 1,
        "temperature": 0,
        "logit_bias": [[foreign, 1000]],
        "grammar": grammar,
        "response_fields": ["content"],
    }
    answer = bytearray()

    def take(chunk: bytes) -> bool:
        answer.extend(chunk)
        return False

    await client.complete(body, take)
    return FOREIGN not in orjson.loads(answer)["content"]
