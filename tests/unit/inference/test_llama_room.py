"""What cannot fit a model's context is refused before it is rendered, and nothing that might fit is."""

from __future__ import annotations

import json

import pytest

from services.inference.domain.chat import ChatRequest, Message, Role, Tool, ToolCall, ToolChoice, ToolMode
from services.inference.domain.errors import ContextTooLong, InvalidRequest
from services.inference.engines.llama.room import MAX_PIECES, Room

HELLO = Message(Role.USER, ("Hello!",))
LONGEST, CONTEXT = 16, 100


def check(*messages: Message, context: int = CONTEXT, **fields: object) -> None:
    Room(LONGEST).check(ChatRequest("m", messages or (HELLO,), **fields), context)  # type: ignore[arg-type]


def of(count: int, **more: object) -> str:
    return json.dumps({"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(count)}, **more})


def calling(arguments: str) -> Message:
    return Message(Role.ASSISTANT, (), tool_calls=(ToolCall("c", "f", arguments),))


def test_text_of_more_bytes_than_the_longest_tokens_could_hold_is_refused() -> None:
    check(Message(Role.USER, ("x" * LONGEST * (CONTEXT - 1),)))
    for text in ("x" * LONGEST * CONTEXT, "ä" * (LONGEST // 2) * CONTEXT):
        with pytest.raises(ContextTooLong, match="at least 100 "):
            check(Message(Role.USER, (text,)))


def test_what_templates_leave_out_does_not_count() -> None:
    check(Message(Role.USER, (" " * 3_000 + "x" + "\n" * 3_000,)))
    check(Message(Role.ASSISTANT, ("<think>" + "x" * 5_000 + "</think>yes",)), HELLO)
    check(tools=(Tool("f", "x" * 100_000),), tool_choice=ToolChoice(ToolMode.NONE))
    check(calling("{" + " " * 5_000 + "}"))
    check(calling('{"a": "' + "\\u0061" * 1000 + '"}'))
    check(tools=(Tool("f", "", of(1, description="x" * 5_000)),))


def test_what_templates_leave_out_is_bounded_by_what_reading_it_costs() -> None:
    for message in (
        Message(Role.USER, (" " * 100_000,)),
        Message(Role.ASSISTANT, ("x" * 100_000 + "</think>yes",)),
        calling("{" + " " * 100_000 + "}"),
        calling('{"a": "' + "\\u0061" * 1_400 + '"}'),
    ):
        with pytest.raises(InvalidRequest, match="more than 6,400 cannot fit"):
            check(message)
    with pytest.raises(InvalidRequest, match="more than 6,400 cannot fit"):
        check(tools=(Tool("f", "", of(1, description="x" * 100_000)),))


@pytest.mark.parametrize(
    "tools",
    [
        (Tool("f", "x" * LONGEST * CONTEXT),),
        (Tool("f", "", of(CONTEXT)),),
        (Tool("f", "", json.dumps({"properties": {"a": {"enum": list(range(CONTEXT))}}})),),
        tuple(Tool(f"f{n}", "x" * 8000) for n in range(128)),
    ],
)
def test_tools_count_with_what_every_template_renders(tools: tuple[Tool, ...]) -> None:
    with pytest.raises(ContextTooLong):
        check(tools=tools)


def test_messages_and_calls_count() -> None:
    with pytest.raises(ContextTooLong):
        check(*[Message(Role.USER, ("",))] * CONTEXT)
    with pytest.raises(ContextTooLong):
        check(calling('{"a": "' + "x" * LONGEST * CONTEXT + '"}'))


def test_too_many_properties_are_refused_however_long_the_context_is() -> None:
    check(tools=(Tool("f", "", of(MAX_PIECES)),), context=1_000_000)
    with pytest.raises(InvalidRequest, match="properties"):
        check(tools=(Tool("f", "", of(MAX_PIECES)), Tool("g", "", of(1))), context=1_000_000)


def test_schemas_of_odd_forms_count_nothing() -> None:
    for parameters in ("", "[", "[]", "{}", '{"properties": []}', '{"properties": {"a": 1, "b": {"enum": 2}}}'):
        check(tools=(Tool("f", "", parameters),))
