"""`engine: upstream`, a model that another OpenAI-compatible server runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

from common.model_list.engines.secret import Secret, Tokenizer
from common.model_list.engines.target import EngineEntry, Surroundings, Target
from common.model_list.fields import (
    MAX_CONTEXT_LENGTH,
    Text,
    check_text,
    one_of,
    refuse,
    refuse_field,
    seconds,
    some_of,
    whole,
)

# What an upstream is. Each counts prompts and running answers in its own way (docs/upstreams.md).
SERVERS = ("openai", "vllm", "sglang", "llama.cpp")
TOKENIZERS = ("o200k_base", "cl100k_base")  # that come with the project
# What a server may ignore or refuse, and we can do without, do ourselves, or refuse in its place (docs/upstreams.md).
UNSUPPORTABLE = frozenset(
    {"n", "logprobs", "stop", "seed", "logit_bias", "parallel_tool_calls", "reasoning_effort", "verbosity"}
    | {"service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "user"}
)
MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110, a token
# Ours to set, or a place for the key, which must not stand in the list.
RESERVED = {
    *("authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "host", "content-type"),
    *("content-length", "transfer-encoding", "connection", "accept", "accept-encoding"),
}


@dataclass(frozen=True)
class UpstreamTarget(Target):
    """A model that another OpenAI-compatible server runs. Times in seconds."""

    name: str
    base_url: str  # without a slash at its end
    model: str  # as that server calls it
    context_length: int
    server: str = "openai"  # what it understands beside OpenAI's own API: SERVERS
    secret: Secret | None = None
    key_header: str = "authorization"  # which carries "Bearer KEY"; any other one carries the key alone
    headers: tuple[tuple[str, str], ...] = ()
    connect_timeout: float = 5.0
    first_token_timeout: float = 60.0
    token_timeout: float = 30.0
    max_concurrent: int = 32
    max_output_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    image_tokens: int | None = None  # what one image takes; None: by OpenAI's rule
    tokenizer: Tokenizer | None = None  # None: o200k_base as an estimate
    unsupported: frozenset[str] = frozenset()  # fields that it ignores or refuses, of UNSUPPORTABLE
    weight: int = 1
    order: int = 1


def _check_url(value: Any) -> str:
    text = check_text(value).rstrip("/")
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        refuse("must be an http or https URL, as http://vllm:8000/v1")
    if parts.username or parts.password:
        refuse("must hold no user name or password; name the key's place in `key_env:`")
    if parts.query or parts.fragment:
        refuse("must end with its path, without ? and #")
    return text


def _check_variable(value: Any) -> str:
    text = check_text(value)
    if not VARIABLE.fullmatch(text):
        refuse("must be the name of an environment variable; the key itself must not stand in this file")
    return text


def _check_header_name(value: Any) -> str:
    text = check_text(value)
    if not HEADER.fullmatch(text):
        refuse("is not the name of an HTTP header")
    return text.lower()


def _check_header(value: Any) -> str:
    text = check_text(value)
    if not text.isprintable():
        refuse("is not an HTTP header")
    return text


def _check_tokenizer(value: Any) -> str:
    text = check_text(value)
    if text not in TOKENIZERS and not text.endswith(".json"):
        known = ", ".join(TOKENIZERS)
        refuse(f"unknown {text!r}; known: {known}, or the path of a tokenizer.json")
    return text


Url = Annotated[str, WithJsonSchema({"type": "string", "format": "uri"}), BeforeValidator(_check_url)]
HeaderName = Annotated[str, BeforeValidator(_check_header_name)]


# Fields of the entry that its target has as they are.
TAKEN_OVER = (
    *("base_url", "model", "server", "key_header", "max_tokens_field", "unsupported", "connect_timeout"),
    *("first_token_timeout", "token_timeout", "max_concurrent", "max_output_tokens", "image_tokens"),
)


class UpstreamEntry(EngineEntry):
    """Another OpenAI-compatible server."""

    engine: Literal["upstream"]
    base_url: Url = Field(description="where it is, with its /v1")
    model: Text = Field(description="what the server calls the model")
    server: one_of(SERVERS) = Field(  # type: ignore[valid-type]
        "openai", description="what it understands beside OpenAI's own API: how tokens are counted"
    )
    key_env: Annotated[str, BeforeValidator(_check_variable)] | SkipJsonSchema[None] = Field(
        None, description="the variable of inference's environment that holds the key"
    )
    key_file: Text | SkipJsonSchema[None] = Field(None, description="the file that holds the key")
    key_header: HeaderName = Field(
        "authorization", description="the key's header: `Bearer KEY` in this one, the key alone in any other"
    )
    headers: dict[str, Annotated[str, BeforeValidator(_check_header)]] = Field(
        default_factory=dict, description="further headers; not for keys"
    )
    max_tokens_field: one_of(MAX_TOKENS_FIELDS) = Field(  # type: ignore[valid-type]
        "max_tokens", description="the field that bounds an answer"
    )
    tokenizer: Annotated[str, BeforeValidator(_check_tokenizer)] | SkipJsonSchema[None] = Field(
        None, description="what counts its tokens: o200k_base, cl100k_base, or the path of a tokenizer.json"
    )
    unsupported: some_of(UNSUPPORTABLE) = Field(  # type: ignore[valid-type]
        frozenset(), description="fields that the server ignores or refuses"
    )
    connect_timeout: seconds(60) = Field(5.0, description="to connect")  # type: ignore[valid-type]
    first_token_timeout: seconds(3600) = Field(60.0, description="to the first token")  # type: ignore[valid-type]
    token_timeout: seconds(3600) = Field(30.0, description="between tokens")  # type: ignore[valid-type]
    max_concurrent: whole(1, 10_000) = Field(  # type: ignore[valid-type]
        32, description="choices that it generates at once"
    )
    max_output_tokens: whole(1, MAX_CONTEXT_LENGTH) | SkipJsonSchema[None] = Field(  # type: ignore[valid-type]
        None, description="the most that it accepts as max_tokens"
    )
    image_tokens: whole(1, 1_000_000) | SkipJsonSchema[None] = Field(  # type: ignore[valid-type]
        None, description="what one image takes, where the server does not count them"
    )

    @model_validator(mode="after")
    def _check(self) -> UpstreamEntry:
        if self.key_env is not None and self.key_file is not None:
            refuse_field("stands beside key_env; keep one of them", "key_file")
        for name in self.headers:
            if not HEADER.fullmatch(name):
                refuse_field("is not an HTTP header", "headers", name)
            if name.lower() in RESERVED:
                refuse_field("cannot be set here; a key belongs into key_env or key_file", "headers", name)
        return self

    def target(self, around: Surroundings) -> UpstreamTarget:
        """See EngineEntry."""
        return UpstreamTarget(
            name=around.name or urlsplit(self.base_url).netloc,
            context_length=around.context_length,
            weight=around.weight,
            order=around.order,
            secret=self._secret(around),
            headers=tuple(self.headers.items()),
            tokenizer=self._tokenizer(around),
            **{name: getattr(self, name) for name in TAKEN_OVER},
        )

    def _secret(self, around: Surroundings) -> Secret | None:
        if self.key_env is not None:
            return Secret(variable=self.key_env, place=around.place("key_env"))
        if self.key_file is not None:
            return Secret(file=(around.folder / self.key_file).resolve(), place=around.place("key_file"))
        return None

    def _tokenizer(self, around: Surroundings) -> Tokenizer | None:
        """By its name, or a file: whether that can be read is found out by inference, the only one that needs it."""
        if self.tokenizer is None:
            return None
        place = around.place("tokenizer")
        if self.tokenizer in TOKENIZERS:
            return Tokenizer(name=self.tokenizer, place=place)
        return Tokenizer(file=(around.folder / self.tokenizer).resolve(), place=place)
