"""Reading a model's targets: the engines that can answer for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common.model_list.entries import LlamaTarget, Secret, Target, Tokenizer, UpstreamTarget
from common.model_list.nodes import Nodes

DEFAULT_FILE = Path(__file__).parents[2] / "services" / "inference" / "default_model" / "muh-small.gguf"
DEFAULT_PROJECTOR = DEFAULT_FILE.with_name("muh-small-projector.gguf")
ENGINES = ("llama", "upstream")
# What an upstream is. Each counts prompts and running answers in its own way (docs/upstreams.md).
SERVERS = ("openai", "vllm", "sglang", "llama.cpp")
TOKENIZERS = ("o200k_base", "cl100k_base")  # that come with the project
# What a server may ignore or refuse, and we can do without, do ourselves, or refuse in its place (docs/upstreams.md).
UNSUPPORTABLE = frozenset(
    {"n", "logprobs", "stop", "seed", "logit_bias", "parallel_tool_calls", "reasoning_effort", "verbosity"}
    | {"service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "user"}
)
MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")
MOST_TARGETS = 32  # of one model
MOST_CONTEXT = 10_000_000

SHARED = {"engine", "name", "weight", "order", "context_length"}
LLAMA = {"file", "projector"}
TIMEOUTS = {"connect_timeout": 60.0, "first_token_timeout": 3600.0, "token_timeout": 3600.0}  # most seconds
NUMBERS = {  # least and most
    "max_concurrent": (1, 10_000),
    "max_output_tokens": (1, MOST_CONTEXT),
    "image_tokens": (1, 1_000_000),
}
UPSTREAM = {
    *("base_url", "model", "server", "key_env", "key_file", "key_header", "headers", "max_tokens_field", "tokenizer"),
    "unsupported",
    *TIMEOUTS,
    *NUMBERS,
}
FIELDS = {"llama": SHARED | LLAMA, "upstream": SHARED | UPSTREAM}
OF_ONE_TARGET = (LLAMA | UPSTREAM | {"engine"}) - {"context_length"}  # may stand in the model itself when it has one

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110, a token
# Ours to set, or a place for the key, which must not stand in the list.
RESERVED = {
    *("authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "host", "content-type"),
    *("content-length", "transfer-encoding", "connection", "accept", "accept-encoding"),
}


class TargetReader:
    """Reads what stands below `targets:`, or the one target that a model's own fields describe."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def read_all(self, node: Any, where: str, context_length: int) -> tuple[Target, ...]:
        """The list below `targets:`, names distinct."""
        items = self._nodes.sequence(node, where)
        if not 1 <= len(items) <= MOST_TARGETS:
            self._nodes.fail(node, where, f"must have 1 to {MOST_TARGETS} targets, not {len(items)}")
        targets: list[Target] = []
        for index, item in enumerate(items):
            place = f"{where}[{index}]"
            fields = dict(self._nodes.items(item, place, None))
            target = self.read(item, fields, place, context_length)
            if any(target.name == other.name for other in targets):
                problem = f"another target is called {target.name!r}; give it a `name:` of its own"
                self._nodes.fail(item, f"{place}.name", problem)
            targets.append(target)
        return tuple(targets)

    def read(self, node: Any, fields: dict[str, Any], where: str, context_length: int) -> Target:
        """One target. `context_length` holds where it names none."""
        self._nodes.needed(node, fields, where, "engine")
        engine = self._nodes.string(fields["engine"], f"{where}.engine")
        if engine not in ENGINES:
            problem = f"unknown engine {engine!r}; known: {', '.join(ENGINES)}"
            self._nodes.fail(fields["engine"], f"{where}.engine", problem)
        for field, value in fields.items():
            if field not in FIELDS[engine]:
                problem = f"unknown field of engine {engine}; known: {', '.join(sorted(FIELDS[engine]))}"
                self._nodes.fail(value, f"{where}.{field}", problem)
        shared = self._shared(fields, where, context_length)
        if engine == "llama":
            return self._llama(fields, where, shared)
        return self._upstream(node, fields, where, shared)

    def _shared(self, fields: dict[str, Any], where: str, context_length: int) -> dict[str, Any]:
        shared: dict[str, Any] = {"context_length": context_length}
        for field, most in (("weight", 1000), ("order", 100)):
            if field in fields:
                shared[field] = self._nodes.integer(fields[field], f"{where}.{field}", 1, most)
        if "context_length" in fields:
            own = self._nodes.integer(fields["context_length"], f"{where}.context_length", 64, MOST_CONTEXT)
            shared["context_length"] = own
        if "name" in fields:
            shared["name"] = self._nodes.name(fields["name"], f"{where}.name")
        return shared

    def _llama(self, fields: dict[str, Any], where: str, shared: dict[str, Any]) -> LlamaTarget:
        file = self._file(fields.get("file"), f"{where}.file", DEFAULT_FILE)
        projector = self._file(fields.get("projector"), f"{where}.projector", DEFAULT_PROJECTOR)
        return LlamaTarget(**{"name": "llama", **shared}, file=file, projector=projector)

    def _file(self, node: Any, where: str, default: Path) -> Path | None:
        if node is None:
            return None
        text = self._nodes.string(node, where)
        if text == "default":
            return default
        return (self._nodes.path.parent / text).resolve()

    def _upstream(self, node: Any, fields: dict[str, Any], where: str, shared: dict[str, Any]) -> UpstreamTarget:
        nodes = self._nodes
        nodes.needed(node, fields, where, "base_url", "model")
        url = self._url(fields["base_url"], f"{where}.base_url")
        read: dict[str, Any] = {"name": urlsplit(url).netloc, **shared}
        if "server" in fields:
            read["server"] = nodes.one_of(fields["server"], f"{where}.server", SERVERS)
        if "max_tokens_field" in fields:
            place = f"{where}.max_tokens_field"
            read["max_tokens_field"] = nodes.one_of(fields["max_tokens_field"], place, MAX_TOKENS_FIELDS)
        for field, most in TIMEOUTS.items():
            if field in fields:
                read[field] = nodes.seconds(fields[field], f"{where}.{field}", most)
        for field, (least, most_) in NUMBERS.items():
            if field in fields:
                read[field] = nodes.integer(fields[field], f"{where}.{field}", least, most_)
        if "key_header" in fields:
            read["key_header"] = self._header(fields["key_header"], f"{where}.key_header")
        return UpstreamTarget(
            **read,
            base_url=url,
            model=nodes.string(fields["model"], f"{where}.model"),
            secret=self._secret(fields, where),
            headers=self._headers(fields.get("headers"), f"{where}.headers"),
            tokenizer=self._tokenizer(fields.get("tokenizer"), f"{where}.tokenizer"),
            unsupported=self._unsupported(fields.get("unsupported"), f"{where}.unsupported"),
        )

    def _tokenizer(self, node: Any, where: str) -> Tokenizer | None:
        """By its name, or a file: whether that can be read is found out by inference, the only one that needs it."""
        if node is None:
            return None
        text, place = self._nodes.string(node, where), self._nodes.place(node, where)
        if text in TOKENIZERS:
            return Tokenizer(name=text, place=place)
        if not text.endswith(".json"):
            known = ", ".join(TOKENIZERS)
            self._nodes.fail(node, where, f"unknown {text!r}; known: {known}, or the path of a tokenizer.json")
        return Tokenizer(file=(self._nodes.path.parent / text).resolve(), place=place)

    def _unsupported(self, node: Any, where: str) -> frozenset[str]:
        names = frozenset(self._nodes.names(node, where))
        if wrong := names - UNSUPPORTABLE:
            known = ", ".join(sorted(UNSUPPORTABLE))
            self._nodes.fail(node, where, f"unknown {', '.join(sorted(wrong))}; known: {known}")
        return names

    def _url(self, node: Any, where: str) -> str:
        text = self._nodes.string(node, where).rstrip("/")
        try:
            parts = urlsplit(text)
            sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            sound = False
        if not sound:
            self._nodes.fail(node, where, "must be an http or https URL, as http://vllm:8000/v1")
        if parts.username or parts.password:
            self._nodes.fail(node, where, "must hold no user name or password; name the key's place in `key_env:`")
        if parts.query or parts.fragment:
            self._nodes.fail(node, where, "must end with its path, without ? and #")
        return text

    def _secret(self, fields: dict[str, Any], where: str) -> Secret | None:
        if "key_env" in fields and "key_file" in fields:
            self._nodes.fail(fields["key_file"], f"{where}.key_file", "stands beside key_env; keep one of them")
        if "key_env" in fields:
            place = f"{where}.key_env"
            variable = self._nodes.string(fields["key_env"], place)
            if not VARIABLE.fullmatch(variable):
                problem = "must be the name of an environment variable; the key itself must not stand in this file"
                self._nodes.fail(fields["key_env"], place, problem)
            return Secret(variable=variable, place=self._nodes.place(fields["key_env"], place))
        if "key_file" in fields:
            place = f"{where}.key_file"
            file = (self._nodes.path.parent / self._nodes.string(fields["key_file"], place)).resolve()
            return Secret(file=file, place=self._nodes.place(fields["key_file"], place))
        return None

    def _headers(self, node: Any, where: str) -> tuple[tuple[str, str], ...]:
        if node is None:
            return ()
        headers = []
        for name, value in self._nodes.items(node, where, None):
            place = f"{where}.{name}"
            text = self._nodes.string(value, place)
            if not HEADER.fullmatch(name) or not text.isprintable():
                self._nodes.fail(value, place, "is not an HTTP header")
            if name.lower() in RESERVED:
                self._nodes.fail(value, place, "cannot be set here; a key belongs into key_env or key_file")
            headers.append((name, text))
        return tuple(headers)

    def _header(self, node: Any, where: str) -> str:
        text = self._nodes.string(node, where)
        if not HEADER.fullmatch(text):
            self._nodes.fail(node, where, "is not the name of an HTTP header")
        return text.lower()
