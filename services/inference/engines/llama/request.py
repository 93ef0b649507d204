"""A chat request in the worker's words: the conversation for its template, the options for its sampler."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.inference.domain.abilities import check_abilities
from services.inference.domain.chat import ChatRequest, Message, Sampling, Tool, ToolCall
from services.inference.domain.errors import InvalidRequest
from services.inference.domain.json import text as json_text
from services.inference.engines.llama.completion import LAST_FIELDS
from services.inference.engines.llama.grammar import calls_in_text, grammar_of
from services.inference.engines.llama.prompt import JsonString

SEEDS = 0xFFFFFFFF  # llama.cpp's seeds have 32 bits, and the highest means "at random"
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class SamplingDefaults:
    """What holds where a request says nothing: the model's own advice, or these."""

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05

    @classmethod
    def advised(cls, advice: Mapping[str, float]) -> SamplingDefaults:
        """From `temp`, `top_p`, `top_k` and `min_p`; what is missing, or out of OpenAI's ranges, stays ours."""
        ranges = {"temp": 2.0, "top_p": 1.0, "top_k": 100_000, "min_p": 1.0}
        sound = {name: advice[name] for name, most in ranges.items() if 0 <= advice.get(name, -1) <= most}
        return cls(
            temperature=_short(sound.get("temp", cls.temperature)),
            top_p=_short(sound.get("top_p", cls.top_p)),
            top_k=int(sound.get("top_k", cls.top_k)),
            min_p=_short(sound.get("min_p", cls.min_p)),
        )


def _short(value: float) -> float:
    """A file's numbers have 32 bits: 0.3 would else be 0.30000001192092896."""
    return round(float(value), 6)


def check_supported(request: ChatRequest, model: str, abilities: frozenset[str], vocabulary: int) -> None:
    """Raises InvalidRequest, naming the field, for whatever this engine or model would otherwise ignore."""
    check_abilities(request, model, abilities)
    for token in request.sampling.logit_bias:
        if not 0 <= token < vocabulary:
            raise InvalidRequest(f"the model {model} has no token {token}", param=f"logit_bias.{token}")


def conversation(request: ChatRequest) -> dict[str, Any]:
    """The body of /apply-template.

    Tools that must not be called are left out, since a model that reads of them calls them. The others are sent with
    tool_choice "none" whatever was asked: they are rendered all the same, and the worker's own parser, which turns a
    call cut short into an exception (docs/engine.md), keeps out of it. Pictures stay as they are for prompt.py.
    """
    body: dict[str, Any] = {"messages": [_message(message) for message in request.messages]}
    if request.may_call_tools:
        body["tools"] = [_tool(tool, index) for index, tool in enumerate(request.tools)]
        body["tool_choice"] = "none"
    return body


def _message(message: Message) -> dict[str, Any]:
    content = _illustrated(message) if message.has_images else message.text
    body: dict[str, Any] = {"role": message.role.value, "content": content}
    if message.name:
        body["name"] = message.name
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return body


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _arguments(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _illustrated(message: Message) -> list[Any]:
    """The parts; texts that follow one another are joined as everywhere (Message.text)."""
    parts: list[Any] = []
    for is_text, group in itertools.groupby(message.content, lambda part: isinstance(part, str)):
        run = list(group)
        parts += [{"type": "text", "text": "\n".join(map(str, run))}] if is_text else run
    return parts


def _arguments(arguments: str) -> Any:
    """What the assistant called with, for the template: an object, or else the text itself.

    Models are cut off within their arguments, and clients send back what came. The worker parses arguments that are a
    string, so only an object, which was parsed here, or a JSON string, which holds the text as it is, ever reaches it.
    """
    if not arguments.strip():
        return {}
    try:
        parsed = json_text.parse(arguments)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        return parsed
    return JsonString(json_text.well_formed(arguments))


def _tool(tool: Tool, index: int) -> dict[str, Any]:
    try:
        parameters = json_text.parse(tool.parameters) if tool.parameters else NO_PARAMETERS
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        param = f"tools[{index}].function.parameters"
        raise InvalidRequest(f"the parameters of the tool {tool.name!r} are not a JSON object", param=param)
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def completion(
    request: ChatRequest,
    prompt: list[int] | dict[str, Any],
    defaults: SamplingDefaults,
    *,
    context_length: int,
    call_token: int | None,
    seen: Iterable[int],
    call_is_control: bool = False,
) -> dict[str, Any]:
    """The body of /completion, without what differs between choices and what Go tells: seed and n_predict.

    `call_token`: the model's own token for the beginning of a tool call, if it has one. `call_is_control`: it is a
    control token, which no grammar's text can hold, so a call within text is left as free as the text. `seen`: the
    tokens of the prompt's text, which only penalties need.
    """
    sampling = request.sampling
    frequency, presence = sampling.frequency_penalty or 0.0, sampling.presence_penalty or 0.0
    body: dict[str, Any] = {
        "prompt": prompt,
        "stream": True,
        "temperature": defaults.temperature if sampling.temperature is None else sampling.temperature,
        "top_p": defaults.top_p if sampling.top_p is None else sampling.top_p,
        "top_k": defaults.top_k,
        "min_p": defaults.min_p,
        "stop": list(request.sampling.stop),
        "response_fields": LAST_FIELDS,
        # A prompt found in the cache is computed in other batches, which rounds differently: a seed promises the same.
        "cache_prompt": sampling.seed is None,
    }
    if not (call_is_control and calls_in_text(request)) and (grammar := grammar_of(request)):
        body["grammar"] = grammar
    biases: list[list[float]] = [[token, bias] for token, bias in sampling.logit_bias.items()]
    if frequency or presence:
        body |= {"frequency_penalty": frequency, "presence_penalty": presence, "repeat_last_n": context_length}
        # The worker counts the prompt too. What that takes from a token is known, and given back.
        biases += [[token, times * frequency + presence] for token, times in Counter(seen).items()]
    if call_token is not None and not request.may_call_tools:
        biases.append([call_token, False])  # never: models call from habit what they were not even told of
    if biases:
        body["logit_bias"] = biases
    if sampling.logprobs:
        body["n_probs"] = max(1, sampling.top_logprobs)
    return body


def seed_of(sampling: Sampling, choice: int) -> int:
    """The worker's seed of one choice; SEEDS: at random."""
    return SEEDS if sampling.seed is None else (sampling.seed + choice) % SEEDS
