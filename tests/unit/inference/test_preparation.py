"""Handles, and the limits of requests."""

from __future__ import annotations

import dataclasses
import itertools
import math
import weakref
from typing import Any

import pytest

from services.inference.domain import limits
from services.inference.domain.chat import (
    ChatRequest,
    Image,
    Message,
    Role,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from services.inference.domain.errors import EngineUnavailable, InvalidRequest, ModelUnknown, Overloaded
from services.inference.domain.generation import PreparedRequest
from services.inference.domain.preparation import Handles, Preparer
from services.inference.domain.registry import Registry
from tests.fakes import FakeClock
from tests.fakes_engine import MUH_CHAT, ScriptedEngine

HELLO = ChatRequest("muh-chat", (Message(Role.USER, ("Hello!",)),))
MINE, THEIRS = b"m" * 16, b"t" * 16


async def prepared() -> PreparedRequest:
    return await Preparer(Registry([(MUH_CHAT, ScriptedEngine("a"))])).prepare(HELLO)


def handles(clock: FakeClock, limit: int = 2) -> Handles:
    numbers = itertools.count()
    return Handles(clock, lambda: next(numbers).to_bytes(16, "big"), limit)


async def test_a_handle_gives_its_request_once_and_to_its_session_only() -> None:
    kept, request = handles(FakeClock()), await prepared()
    handle = kept.keep(MINE, request)
    with pytest.raises(EngineUnavailable):
        kept.take(THEIRS, handle)
    assert kept.take(MINE, handle) is request
    with pytest.raises(EngineUnavailable):
        kept.take(MINE, handle)


async def test_handles_are_bounded_and_expire_after_a_minute() -> None:
    clock = FakeClock()
    kept, request = handles(clock), await prepared()
    first = kept.keep(MINE, request)
    clock.advance(59)
    kept.keep(MINE, request)
    with pytest.raises(Overloaded):
        kept.keep(MINE, request)
    clock.advance(1)
    kept.check()
    with pytest.raises(EngineUnavailable):
        kept.take(MINE, first)


async def test_an_abandoned_request_is_let_go_of_when_its_time_is_over() -> None:
    clock = FakeClock()
    kept, request = handles(clock), await prepared()
    kept.keep(MINE, request)
    gone = weakref.ref(request.prompt)
    del request
    clock.advance(59)
    kept.expire()
    assert gone() is not None
    clock.advance(1)
    kept.expire()
    assert gone() is None


async def test_a_model_is_found_by_each_of_its_names_and_by_no_other() -> None:
    preparer = Preparer(Registry([(MUH_CHAT, ScriptedEngine("a"))]))
    for name in ("muh-chat", *MUH_CHAT.aliases):
        assert (await preparer.prepare(dataclasses.replace(HELLO, model=name))).target.card is MUH_CHAT
    with pytest.raises(ModelUnknown):
        await preparer.prepare(dataclasses.replace(HELLO, model="gpt-17"))


USER = Message(Role.USER, ("hi",))
TOOL = Tool("f")
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"messages": ()}),
    ("messages", {"messages": (USER,) * 2049}),
    ("messages", {"messages": (Message(Role.USER, ("x" * 2000,)),)}),
    ("messages[0].tool_calls", {"messages": (Message(Role.USER, (), tool_calls=(ToolCall("1", "f", "{}"),)),)}),
    ("messages[0].content", {"messages": (Message(Role.SYSTEM, (Image(data=b"x"),)),)}),
    ("tools", {"tools": tuple(Tool(f"f{n}") for n in range(129))}),
    ("tools", {"tools": (Tool("f", "x" * 2000),)}),
    ("tools[1].function.name", {"tools": (TOOL, TOOL)}),
    ("tools[0].function.name", {"tools": (Tool(""),)}),
    ("tool_choice", {"tool_choice": ToolChoice(ToolMode.REQUIRED)}),
    ("tool_choice", {"tools": (TOOL,), "tool_choice": ToolChoice(ToolMode.FUNCTION, "g")}),
    ("temperature", {"sampling": Sampling(temperature=math.nan)}),
    ("top_p", {"sampling": Sampling(top_p=1.01)}),
    ("frequency_penalty", {"sampling": Sampling(frequency_penalty=-2.1)}),
    ("presence_penalty", {"sampling": Sampling(presence_penalty=math.inf)}),
    ("n", {"sampling": Sampling(choices=0)}),
    ("top_logprobs", {"sampling": Sampling(top_logprobs=21)}),
    ("stop", {"sampling": Sampling(stop=("a",) * 5)}),
    ("stop[1]", {"sampling": Sampling(stop=("a", ""))}),
    ("logit_bias.7", {"sampling": Sampling(logit_bias={7: 101})}),
]


@pytest.mark.parametrize(("param", "fields"), WRONG)
def test_a_field_out_of_its_range_is_refused_by_its_name(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        limits.check(dataclasses.replace(HELLO, **fields), 1000)
    assert caught.value.param == param


def test_the_edges_of_the_ranges_are_taken() -> None:
    sampling = Sampling(0, 1, ("a",) * 4, -2, 2, -(2**63), 8, True, 20, {0: -100, 1: 100})
    limits.check(dataclasses.replace(HELLO, sampling=sampling), 1000)
