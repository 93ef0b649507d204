"""A chat request as every engine takes it: frozen, independent of transport and engine."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Role(enum.Enum):
    """Who speaks in a message. The values are the names that chat templates know."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Image:
    """An image as the client sent it: either a URL to be fetched or the file's own bytes. No engine is given one."""

    url: str = ""
    data: bytes = b""
    detail: str = "auto"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Picture:
    """An image that we have decoded and written again as a JPEG file (images.py): what engines are given."""

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made in an earlier turn. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `content` holds texts and images in their order."""

    role: Role
    content: tuple[str | Image | Picture, ...] = ()
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        """The text parts, a line break between two, as llama.cpp and vLLM join them."""
        return "\n".join(part for part in self.content if isinstance(part, str))

    @property
    def has_images(self) -> bool:
        return any(not isinstance(part, str) for part in self.content)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters` is JSON Schema as JSON text; empty: none.

    `strict`: None when the client did not say.
    """

    name: str
    description: str = ""
    parameters: str = ""
    strict: bool | None = None


class ToolMode(enum.Enum):
    """Whether the model may, must or must not call a tool."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"
    FUNCTION = "function"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The mode, and for FUNCTION the name of the function that must be called. `asked`: the client chose it."""

    mode: ToolMode = ToolMode.AUTO
    name: str = ""
    asked: bool = True

    @property
    def forced(self) -> bool:
        """Whether the answer must be a call."""
        return self.mode in (ToolMode.REQUIRED, ToolMode.FUNCTION)


class FormatKind(enum.Enum):
    """What an answer's text must be."""

    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """`schema` is JSON Schema as JSON text, for JSON_SCHEMA."""

    kind: FormatKind = FormatKind.TEXT
    name: str = ""
    schema: str = ""
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. None: the model's own default."""

    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    choices: int = 1
    logprobs: bool = False
    top_logprobs: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)


# Fields of a request that change no rule of ours, and mean something to some upstreams.
HINTS = (
    *("reasoning_effort", "verbosity", "service_tier", "prompt_cache_key", "prompt_cache_retention"),
    *("safety_identifier", "user"),
)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Everything an engine needs to answer; limits.py checks it before an engine sees it."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice(asked=False)
    parallel_tool_calls: bool | None = None  # None: the client did not say, which is as true
    response_format: ResponseFormat = ResponseFormat()
    sampling: Sampling = Sampling()
    hints: Mapping[str, str] = field(default_factory=dict)  # by name of HINTS: for servers that take them
    account: str = ""  # who asks: accounts take turns where an engine prepares one request after the other

    @property
    def has_images(self) -> bool:
        return any(message.has_images for message in self.messages)

    @property
    def may_call_tools(self) -> bool:
        return bool(self.tools) and self.tool_choice.mode is not ToolMode.NONE
