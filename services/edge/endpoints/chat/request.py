"""The body of POST /v1/chat/completions: its fields, their ranges, and nothing else.

The pydantic core reads the bytes straight into these models (ARCHITECTURE.md: a quarter of what a FastAPI route costs).
Strict: a wrong type is an error, never guessed at. `null` means absent; unknown fields are ignored (docs/wire.md).
Rules that span several fields are in rules.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Tag, ValidationInfo
from pydantic_core import PydanticCustomError

DEFAULT_MODEL = "muh-chat"
MAX_MESSAGES = 2048
MAX_PARTS = 2048
MAX_TOOLS = 128
MAX_CALLS = 4096  # of all messages together
MAX_BIASES = 1024
MAX_LABELS = 16
# More than any context holds; it keeps what clients send within the proto's and the database's integers.
MAX_TOKENS_CAP = 2**31 - 1

FUNCTION_NAME = r"^[a-zA-Z0-9_-]{1,64}$"

# Tags of a union's branches; a leading bar marks path elements that are ours and not the client's (validation.py).
TEXT = Tag("|text")
LIST = Tag("|list")
NAME = Tag("|name")
OBJECT = Tag("|object")

TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
LabelName = Annotated[str, Field(max_length=64)]
LabelText = Annotated[str, Field(max_length=512)]
# Words such as "low" or "flex", and names of users and caches, that are passed on to upstreams as they came.
ShortHint = Annotated[str, Field(max_length=64)]
Hint = Annotated[str, Field(max_length=1024)]


@dataclass(slots=True)
class Budget:
    """What is left of a request's bounds over all messages, while it is validated (the validators' context)."""

    parts: int
    calls: int = MAX_CALLS


def _counted(name: Literal["parts", "calls"], text: str) -> AfterValidator:
    """Counts a list into the request's budget. The list of messages ends at its first error."""

    def count(items: list[Any], info: ValidationInfo) -> list[Any]:
        budget: Budget | None = info.context
        if budget is not None:
            left = getattr(budget, name) - len(items)
            if left < 0:
                raise PydanticCustomError("too_many", text)
            setattr(budget, name, left)
        return items

    return AfterValidator(count)


def _at_most(most: int) -> BeforeValidator:
    """Counts a dictionary's entries before any of them is looked at: pydantic would report each that is wrong."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > most:
            text = "Dictionary should have at most {most} items"
            raise PydanticCustomError("too_long", text, {"most": most})
        return value

    return BeforeValidator(check)


COUNT_PARTS = _counted("parts", "The messages hold too many content parts")
COUNT_CALLS = _counted("calls", "The messages hold too many tool calls")


class Body(BaseModel):
    """Base of everything that a client sends."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", protected_namespaces=())


class OpenBody(Body):
    """An object that keeps its unknown fields: rules.py rejects those that would change the answer.

    pydantic's own "forbid" reports every one of them, and a client can send a million.
    """

    model_config = ConfigDict(extra="allow")

    @property
    def extra(self) -> Iterator[str]:
        """The fields that are not ours and not null."""
        return (name for name, value in (self.model_extra or {}).items() if value is not None)


class ImageUrl(Body):
    """Where an image is: an http(s) URL, or a data: URI with its bytes."""

    url: Annotated[str, Field(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


class ContentPart(Body):
    """A piece of a message: text, an image, or what an assistant said instead of an answer."""

    type: Literal["text", "image_url", "refusal"]
    text: str | None = None
    image_url: ImageUrl | None = None
    refusal: str | None = None

    @property
    def words(self) -> str:
        """The part's text; empty for an image."""
        return (self.refusal if self.type == "refusal" else self.text) or ""


class FunctionCall(Body):
    """What the assistant called earlier; arguments are JSON text."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    arguments: str


class ToolCall(Body):
    """One call in an assistant's earlier turn."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"] | None = None
    function: FunctionCall


class Message(Body):
    """One turn of the conversation. developer is today's name of system."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        Annotated[str, TEXT]
        | Annotated[list[ContentPart], Field(max_length=MAX_PARTS, fail_fast=True), COUNT_PARTS, LIST]
        | None
    ) = None
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_TOOLS, fail_fast=True), COUNT_CALLS] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None
    refusal: str | None = Field(None, description="What an assistant said instead of content.")
    function_call: Any = Field(None, description="Not supported: send tool_calls.")
    audio: Any = Field(None, description="Not supported: this API neither hears nor speaks.")
    prefix: bool | None = Field(None, description="true is not supported: answers begin anew.")
    partial: bool | None = Field(None, description="true is not supported: answers begin anew.")


class FunctionDefinition(OpenBody):
    """A function that the model may call; parameters are a JSON Schema."""

    name: Annotated[str, Field(pattern=FUNCTION_NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(OpenBody):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(OpenBody):
    """Names one of the tools."""

    name: Annotated[str, Field(min_length=1)]


class NamedToolChoice(OpenBody):
    """Demands that one function be called."""

    type: Literal["function"]
    function: FunctionName


class JsonSchema(OpenBody):
    """The schema that an answer must satisfy."""

    name: Annotated[str, Field(pattern=FUNCTION_NAME)]
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(OpenBody):
    """What the answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: dict[str, Any] | None = Field(
        None, alias="schema", description="With json_object: held as a json_schema that is not strict."
    )


class StreamOptions(Body):
    """How a stream ends."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(None, description="Ignored: chunks are never padded.")


class ChatRequest(Body):
    """The whole body, as a client sends it."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    model: str | None = Field(None, description="A model alias from GET /v1/models. Default: muh-chat.")
    stream: bool | None = Field(None, description="Server-sent events when true.")
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, description="Capped by your balance and key limit.")
    max_completion_tokens: int | None = Field(None, ge=1, description="The same as max_tokens.")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=8, description="Choices to generate; each is charged.")
    stop: (
        Annotated[str, Field(min_length=1), TEXT]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4, fail_fast=True), LIST]
        | None
    ) = None
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, description="Best-effort determinism.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Needs logprobs.")
    logit_bias: (
        Annotated[
            dict[TokenId, Annotated[float, Field(ge=-100, le=100)]],
            Field(max_length=MAX_BIASES),
            _at_most(MAX_BIASES),
        ]
        | None
    ) = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_choice: Annotated[Literal["none", "auto", "required"], NAME] | Annotated[NamedToolChoice, OBJECT] | None = None
    parallel_tool_calls: bool | None = None
    # Passed on to upstreams that take them; otherwise without effect, since none of them changes what a right answer is
    # (docs/compatibility.md).
    user: Hint | None = None
    safety_identifier: Hint | None = None
    service_tier: ShortHint | None = Field(None, description="Passed on to upstreams; otherwise there is one tier.")
    reasoning_effort: ShortHint | None = Field(None, description="Passed on to upstreams that reason.")
    verbosity: ShortHint | None = Field(None, description="Passed on to upstreams.")
    prompt_cache_key: Hint | None = Field(
        None, description="Passed on to upstreams; the embedded engine finds shared prefixes without it."
    )
    prompt_cache_retention: ShortHint | None = Field(None, description="Passed on to upstreams.")
    # Accepted and ignored.
    metadata: Annotated[dict[LabelName, LabelText], Field(max_length=MAX_LABELS), _at_most(MAX_LABELS)] | None = None
    store: bool | None = Field(None, description="Ignored: answers are not stored.")
    prediction: dict[str, Any] | None = Field(None, description="Ignored: it would only make an answer faster.")
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=8, fail_fast=True)] | None = Field(
        None, description="Text only."
    )
    audio: Any = Field(None, description="Ignored: it says how an answer would sound, and answers are text.")
    # Refused: ignoring them would give an answer to another question than was asked.
    functions: Any = Field(None, description="Not supported: send tools.")
    function_call: Any = Field(None, description="Not supported: send tool_choice.")
    web_search_options: Any = Field(None, description="Not supported: the models search nothing.")

    @property
    def alias(self) -> str:
        """The model alias that was asked, the default when none was."""
        return DEFAULT_MODEL if self.model is None else self.model

    @property
    def choices(self) -> int:
        """How many answers to generate side by side."""
        return self.n or 1

    @property
    def output_limit(self) -> int | None:
        """Output tokens per choice that the client asked for at most; None: as many as fit."""
        asked = self.max_completion_tokens if self.max_tokens is None else self.max_tokens
        return None if asked is None else min(asked, MAX_TOKENS_CAP)

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with OpenAI's extra usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)
