"""Tool calls and their answers in a conversation, held to OpenAI's rule.

The tool messages that follow an assistant's message answer its calls, each of them, before anybody else speaks. OpenAI
refuses anything else with 400, and a model that is shown it answers nonsense.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.edge.endpoints.chat.request import Message
from services.edge.http.errors import ApiError


def check_turns(messages: Sequence[Message]) -> None:
    """Raises ApiError 400 that names the call without an answer, or the answer without a call."""
    calls: dict[str, str] = {}  # of the assistant's message before: id -> where it stands
    unanswered: dict[str, str] = {}
    for index, message in enumerate(messages):
        if message.role == "tool":
            _check_answers(message, f"messages[{index}]", calls)
            unanswered.pop(message.tool_call_id or "", None)
            continue
        _check_answered(unanswered)
        made = message.tool_calls or ()
        calls = {call.id: f"messages[{index}].tool_calls[{place}]" for place, call in enumerate(made)}
        unanswered = dict(calls)
    _check_answered(unanswered)


def _check_answers(message: Message, path: str, calls: dict[str, str]) -> None:
    if not calls:
        text = "A message with role 'tool' must follow an assistant's message with 'tool_calls'."
        raise ApiError.invalid(text, param=f"{path}.role")
    if message.tool_call_id not in calls:
        text = f"'{path}.tool_call_id' is none of the ids in the 'tool_calls' of the assistant's message before it."
        raise ApiError.invalid(text, param=f"{path}.tool_call_id")


def _check_answered(unanswered: dict[str, str]) -> None:
    for path in unanswered.values():
        text = f"'{path}' has no answer. A message with role 'tool' and the call's id must follow it."
        raise ApiError.invalid(text, param=path)
