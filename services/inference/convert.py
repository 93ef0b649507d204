"""Protobuf to domain and back; nothing else in inference knows both."""

from __future__ import annotations

from collections.abc import Iterable

from muhgpt.inference.v1 import inference_pb2 as pb
from services.inference.domain import chat
from services.inference.domain.engine import (
    Delta,
    Event,
    Failed,
    Finished,
    FinishReason,
    Prepared,
    TokenLogprob,
    ToolCallDelta,
    Withheld,
)
from services.inference.domain.errors import ENGINE_DIED, InvalidRequest
from services.inference.domain.load import Load
from services.inference.domain.registry import Target
from services.inference.domain.spent import SPENT

ROLES = {
    pb.Message.ROLE_SYSTEM: chat.Role.SYSTEM,
    pb.Message.ROLE_USER: chat.Role.USER,
    pb.Message.ROLE_ASSISTANT: chat.Role.ASSISTANT,
    pb.Message.ROLE_TOOL: chat.Role.TOOL,
}
TOOL_MODES = {
    pb.ToolChoice.MODE_UNSPECIFIED: chat.ToolMode.AUTO,
    pb.ToolChoice.MODE_AUTO: chat.ToolMode.AUTO,
    pb.ToolChoice.MODE_NONE: chat.ToolMode.NONE,
    pb.ToolChoice.MODE_REQUIRED: chat.ToolMode.REQUIRED,
    pb.ToolChoice.MODE_FUNCTION: chat.ToolMode.FUNCTION,
}
FORMATS = {
    pb.ResponseFormat.KIND_UNSPECIFIED: chat.FormatKind.TEXT,
    pb.ResponseFormat.KIND_TEXT: chat.FormatKind.TEXT,
    pb.ResponseFormat.KIND_JSON_OBJECT: chat.FormatKind.JSON_OBJECT,
    pb.ResponseFormat.KIND_JSON_SCHEMA: chat.FormatKind.JSON_SCHEMA,
}
FINISH_REASONS = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: pb.FINISH_REASON_TOOL_CALLS,
    FinishReason.CANCELLED: pb.FINISH_REASON_CANCELLED,
    FinishReason.CONTENT_FILTER: pb.FINISH_REASON_CONTENT_FILTER,
}

WORTH_REPORTING = 1.0  # milliseconds of a refused preparation


def to_request(message: pb.ChatRequest) -> chat.ChatRequest:
    """A request of the wire as the domain's. Raises InvalidRequest for what has no meaning here."""
    return chat.ChatRequest(
        model=message.model,
        messages=tuple(_to_message(item, f"messages[{index}]") for index, item in enumerate(message.messages)),
        tools=tuple(_to_tool(tool) for tool in message.tools),
        tool_choice=_to_tool_choice(message.tool_choice),
        parallel_tool_calls=None if message.parallel_tool_calls_implied else message.parallel_tool_calls,
        response_format=_to_format(message.response_format),
        sampling=_to_sampling(message.sampling),
        hints={name: getattr(message, name) for name in chat.HINTS if message.HasField(name)},
    )


def _to_tool(tool: pb.Tool) -> chat.Tool:
    strict = tool.strict if tool.HasField("strict") else None
    return chat.Tool(tool.name, tool.description, tool.parameters, strict)


def _to_message(message: pb.Message, param: str) -> chat.Message:
    role = ROLES.get(message.role)
    if role is None:
        raise InvalidRequest(f"{param}.role is not a known role", param=f"{param}.role")
    return chat.Message(
        role=role,
        content=tuple(_to_part(part, f"{param}.content[{index}]") for index, part in enumerate(message.content)),
        name=message.name,
        tool_calls=tuple(chat.ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls),
        tool_call_id=message.tool_call_id,
    )


def _to_part(part: pb.ContentPart, param: str) -> str | chat.Image:
    if part.WhichOneof("part") == "text":
        return part.text
    if part.WhichOneof("part") == "image":
        return chat.Image(part.image.url, part.image.data, part.image.detail or "auto")
    raise InvalidRequest(f"{param} is neither a text nor an image", param=param)


def _to_tool_choice(choice: pb.ToolChoice) -> chat.ToolChoice:
    mode = TOOL_MODES.get(choice.mode)
    if mode is None:
        raise InvalidRequest("tool_choice has an unknown mode", param="tool_choice")
    return chat.ToolChoice(mode, choice.name, asked=choice.mode != pb.ToolChoice.MODE_UNSPECIFIED)


def _to_format(message: pb.ResponseFormat) -> chat.ResponseFormat:
    kind = FORMATS.get(message.kind)
    if kind is None:
        raise InvalidRequest("response_format has an unknown type", param="response_format.type")
    return chat.ResponseFormat(kind, message.name, message.schema, message.strict)


def _to_sampling(message: pb.Sampling) -> chat.Sampling:
    def optional(name: str) -> float | None:
        return getattr(message, name) if message.HasField(name) else None

    return chat.Sampling(
        temperature=optional("temperature"),
        top_p=optional("top_p"),
        stop=tuple(message.stop),
        frequency_penalty=optional("frequency_penalty"),
        presence_penalty=optional("presence_penalty"),
        seed=message.seed if message.HasField("seed") else None,
        choices=message.choices or 1,
        logprobs=message.logprobs,
        top_logprobs=message.top_logprobs,
        logit_bias=dict(message.logit_bias),
    )


def from_events(batch: Iterable[tuple[int, Event]]) -> pb.SessionResponse:
    """Events of many generations, by their ids, as one message; fields are set in place, once for every token."""
    response = pb.SessionResponse()
    add = response.events.events.add
    for generation_id, event in batch:
        message = add()
        message.generation_id = generation_id
        if isinstance(event, Delta):
            _fill_delta(message.delta, event)
        else:
            _fill_event(message, event)
    return response


def _fill_event(message: pb.Event, event: Prepared | Withheld | Finished | Failed) -> None:
    if isinstance(event, Prepared):
        message.prepared.CopyFrom(from_prepared(event))
    elif isinstance(event, Withheld):
        message.withheld.CopyFrom(pb.Withheld(output_tokens=event.output_tokens))
    elif isinstance(event, Failed):
        message.failed.CopyFrom(_from_failed(event))
    else:
        finished = pb.Finished(
            prompt_tokens=event.prompt_tokens,
            output_tokens=event.output_tokens,
            estimated=event.estimated,
            cached_tokens=event.cached_tokens,
            reasoning_tokens=event.reasoning_tokens,
        )
        message.finished.CopyFrom(finished)


def from_prepared(prepared: Prepared) -> pb.Prepared:
    """What a prompt counts."""
    return pb.Prepared(
        prompt_tokens=prepared.prompt_tokens, max_tokens=prepared.max_tokens, estimated=prepared.estimated
    )


def _fill_delta(message: pb.Delta, delta: Delta) -> None:
    message.SetInParent()  # one of no text and no token is a delta too
    if delta.choice:
        message.choice = delta.choice
    message.text = delta.text
    message.tokens = delta.tokens
    if delta.tool_calls:
        message.tool_calls.extend(_from_tool_call(call) for call in delta.tool_calls)
    if delta.logprobs:
        message.logprobs.extend(_from_logprob(logprob) for logprob in delta.logprobs)
    if delta.finish_reason is not None:
        message.finish_reason = FINISH_REASONS[delta.finish_reason]


def _from_tool_call(call: ToolCallDelta) -> pb.ToolCallDelta:
    return pb.ToolCallDelta(index=call.index, id=call.id, name=call.name, arguments=call.arguments)


def _from_logprob(item: TokenLogprob) -> pb.TokenLogprob:
    return pb.TokenLogprob(
        token=item.token, utf8=item.utf8, logprob=item.logprob, top=[_from_logprob(rival) for rival in item.top]
    )


def _from_failed(failed: Failed) -> pb.Failed:
    error = failed.error
    message = pb.Failed(
        reason=f"REASON_{error.reason}",
        message=error.message,
        param=error.metadata.get("param", ""),
        output_tokens=failed.output_tokens,
    )
    if error.retry_after is not None:
        message.retry_after.FromMicroseconds(round(error.retry_after * 1e6))
    if (spent := float(error.metadata.get(SPENT, 0))) >= WORTH_REPORTING:
        message.spent.FromMicroseconds(round(spent * 1000))
    message.engine_died = ENGINE_DIED in error.metadata
    return message


def from_load(load: Load) -> pb.Load:
    """How busy this replica is."""
    return pb.Load(waiting=load.waiting, running=load.running)


def from_target(target: Target) -> list[pb.Model]:
    """A model under each of its names."""
    card = target.card
    return [
        pb.Model(
            alias=alias,
            model=card.id,
            created=card.created,
            owned_by=card.owned_by,
            context_length=min(card.context_length, target.engine.context_length),
            supports_tools="tools" in card.abilities,
            supports_vision="vision" in card.abilities,
            supports_json="json" in card.abilities,
            ready=target.engine.ready,
            input_price=card.prices[0] if card.prices else None,
            output_price=card.prices[1] if card.prices else None,
        )
        for alias in dict.fromkeys((card.id, *card.aliases))
    ]
