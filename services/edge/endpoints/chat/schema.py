"""What a chat completion answers, whole and streamed, for /openapi.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class PromptTokensDetails(BaseModel):
    """What the prompt's tokens were."""

    cached_tokens: int = Field(description="Read from the engine's cache; charged like the others")


class CompletionTokensDetails(BaseModel):
    """What the completion's tokens were."""

    reasoning_tokens: int = Field(description="Reasoning that is not shown; charged like the others")


class CompletionUsage(BaseModel):
    """Exactly what was charged."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = Field(None, description="Absent: the engine does not say")
    completion_tokens_details: CompletionTokensDetails | None = Field(None, description="Absent: it does not say")


class AnsweredFunction(BaseModel):
    """The function that the model calls."""

    name: str
    arguments: str = Field(description="JSON text")


class AnsweredToolCall(BaseModel):
    """One call that the model wants made."""

    id: str
    type: Literal["function"]
    function: AnsweredFunction


class AnsweredMessage(BaseModel):
    """The model's turn."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[AnsweredToolCall] | None = None


class RivalToken(BaseModel):
    """A token and how likely it was."""

    token: str
    logprob: float = Field(description="-9999.0 where it is too small to be told")
    bytes: list[int] = Field(description="The token in UTF-8")


class TokenLogprobs(RivalToken):
    """An output token, and the likeliest at its place."""

    top_logprobs: list[RivalToken]


class ChoiceLogprobs(BaseModel):
    """Of all output tokens."""

    content: list[TokenLogprobs]
    refusal: None


FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class CompletionChoice(BaseModel):
    """One of the n answers."""

    index: int
    message: AnsweredMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str = Field(description="The alias that was asked")
    choices: list[CompletionChoice]
    usage: CompletionUsage


class FunctionDelta(BaseModel):
    """The name comes with a call's first chunk only; the arguments of all chunks are joined."""

    name: str | None = None
    arguments: str


class ToolCallDelta(BaseModel):
    """A piece of a call; id and type come with its first chunk only."""

    index: int = Field(description="Which of the parallel calls")
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class ChunkDelta(BaseModel):
    """What is new. Fields that say nothing are left out."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(BaseModel):
    """What is new in one of the n answers."""

    index: int
    delta: ChunkDelta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(BaseModel):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str = Field(description="The alias that was asked")
    choices: list[ChunkChoice] = Field(description="Empty only in the usage chunk that include_usage asks for")
    usage: CompletionUsage | None = Field(None, description="On the last chunk")
