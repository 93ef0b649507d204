"""The body of /completion: when an answer is held to a grammar."""

from __future__ import annotations

from services.inference.domain.chat import ChatRequest, Message, Role, Tool, ToolChoice, ToolMode
from services.inference.engines.llama.request import SamplingDefaults, completion

TOOL = Tool("get_weather", "", '{"type": "object", "properties": {"city": {"type": "string"}}}')


def held(mode: ToolMode, *, call_is_control: bool) -> bool:
    request = ChatRequest(
        "muh-chat", (Message(Role.USER, ("Hello",)),), tools=(TOOL,), tool_choice=ToolChoice(mode, "get_weather")
    )
    body = completion(
        request, [1], SamplingDefaults(), context_length=16, call_token=None, seen=(), call_is_control=call_is_control
    )
    return "grammar" in body


def test_every_call_is_held_to_a_grammar_and_an_answer_without_calls_is_not() -> None:
    assert held(ToolMode.AUTO, call_is_control=False)
    assert held(ToolMode.REQUIRED, call_is_control=False)
    assert held(ToolMode.FUNCTION, call_is_control=False)
    assert not held(ToolMode.NONE, call_is_control=False)


def test_a_chosen_call_stays_free_where_its_tag_is_a_control_token() -> None:
    assert not held(ToolMode.AUTO, call_is_control=True)
    assert held(ToolMode.REQUIRED, call_is_control=True)
