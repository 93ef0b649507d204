"""The answers' shapes: what the read routes return, and what /openapi.json says of all of them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: Literal[
        "invalid_request_error",
        "insufficient_quota",
        "model_not_allowed",
        "rate_limit",
        "upstream_error",
        "service_unavailable",
        "api_error",
    ]
    param: str | None = Field(description="The field in question, e.g. messages[2].content[0].text")
    code: str | None


class ErrorBody(BaseModel):
    """Every error has this shape."""

    error: ErrorDetail


Ability = Literal["tools", "vision", "json"]


class ModelObject(BaseModel):
    """One model alias."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time")
    owned_by: str
    context_length: int = Field(description="Tokens, prompt and answer together")
    abilities: list[Ability] = Field(description="What requests may ask of it beside text")


class ModelList(BaseModel):
    """The aliases that the key may use."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class UsageTotals(BaseModel):
    """Sums over the range."""

    credits: int
    tokens: int
    requests: int


class UsageDay(BaseModel):
    """One UTC day with at least one charged request."""

    day: str = Field(description="YYYY-MM-DD")
    credits: int
    requests: int


class UsageModel(BaseModel):
    """One model's share."""

    model: str
    credits: int


class UsageReport(BaseModel):
    """Balance and consumption."""

    object: Literal["usage"] = "usage"
    balance: int = Field(description="Credits not yet charged; holds of running requests are not subtracted")
    totals: UsageTotals
    daily: list[UsageDay]
    by_model: list[UsageModel]


class ChargeObject(BaseModel):
    """The receipt of one request.

    `credits` is ceil((prompt_tokens * input_price + completion_tokens * output_price) / 1e6), less what could not be
    collected.
    """

    id: str
    object: Literal["charge"] = "charge"
    state: Literal["held", "settled", "released", "expired"] = Field(
        description="held: it runs; settled: charged; released: nothing came, nothing is charged; "
        "expired: the server that answered was lost, charged is what had been delivered"
    )
    created: int = Field(description="Unix time of admission; its UTC day and month are the charge's")
    ended: int | None
    key_id: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    input_price: int = Field(description="Credits for a million prompt tokens when the request was admitted")
    output_price: int = Field(description="Credits for a million completion tokens")
    credits: int
    uncollected_credits: int
    refunded_credits: int = Field(
        0, description="Charged and given back, since the server was lost before the answer had left it; credits is 0"
    )
    estimated: bool = Field(False, description="The tokens are an estimate: the model's provider did not count them")


class ChargeList(BaseModel):
    """Receipts, newest first."""

    object: Literal["list"] = "list"
    data: list[ChargeObject]
    first_id: str | None
    last_id: str | None = Field(description="Send it as `after` for the next page")
    has_more: bool


class Health(BaseModel):
    """How this process is."""

    # degraded: auth, quota or inference cannot be reached now, so requests are answered 503 or 502
    status: Literal["ok", "degraded", "unavailable"]


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
