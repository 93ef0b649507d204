"""What a GGUF file tells that the model list must know: context length and abilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import gguf
from muhgpt_cli.errors import CliError
from servicekit.errors import StartupError

NO_CHAT = ("clip", "bert", "t5encoder")  # within an architecture's name: projectors, and models that only embed
NO_MODEL = ("adapter", "mmproj", "imatrix", "vocab")  # general.type
TEMPLATES = "tokenizer.chat_template"  # and tokenizer.chat_template.NAME
HALF = 2  # bytes of a number in the cache of keys and values


@dataclass(frozen=True)
class Traits:
    """`trained_context` in tokens; `cache_bytes`: what one token of context takes in memory at most, if it is known."""

    trained_context: int
    has_template: bool
    calls_tools: bool
    cache_bytes: int | None


def read_traits(file: Path) -> Traits:
    """Looks into a model. Raises CliError when it is none that answers chats."""
    found = _facts(file)
    architecture = str(found.get("general.architecture", ""))
    kind = str(found.get("general.type", "model"))
    if any(word in architecture for word in NO_CHAT) or kind in NO_MODEL:
        raise CliError(f"{file.name} is no model that answers chats (architecture {architecture!r}, type {kind!r})")
    context = found.get(f"{architecture}.context_length")
    if not isinstance(context, int) or context < 64:
        raise CliError(f"{file.name} does not tell how long its context is; set it with --context")
    templates = [str(text) for key, text in found.items() if key.startswith(TEMPLATES)]
    return Traits(context, bool(templates), any(map(_calls_tools, templates)), _cache_bytes(found, architecture))


def sees(projector: Path) -> bool:
    """Whether a projector is for pictures; others are for sound. Raises CliError when it is no projector."""
    found = _facts(projector)
    if found.get("general.architecture") != "clip":
        raise CliError(f"{projector.name} is no projector, though it is called so; leave it away with --no-projector")
    return bool(found.get("clip.has_vision_encoder", False))


def _facts(file: Path) -> dict[str, Any]:
    try:
        return gguf.facts(file)
    except StartupError as error:
        raise CliError(str(error)) from None


def _calls_tools(template: str) -> bool:
    """Whether the model was trained to call tools in Hermes' form, the one that inference reads: JSON in <tool_call>.

    Other families write something else between the same tags: <function=…> (Qwen3-Coder) or <arg_key> (GLM).
    """
    hermes = "<tool_call>" in template and "arguments" in template and "tools" in template
    return hermes and "<function=" not in template and "<arg_key>" not in template


def _cache_bytes(found: dict[str, Any], architecture: str) -> int | None:
    """Keys and values of all layers for one token; less with sliding windows. None when the file does not tell."""

    def of(name: str) -> Any:
        return found.get(f"{architecture}.{name}")

    try:
        layers, heads = int(of("block_count")), of("attention.head_count")
        per_layer = of("attention.head_count_kv") or heads
        kv_heads = sum(per_layer) if isinstance(per_layer, list | tuple) else layers * int(per_layer)
        most_heads = max(heads) if isinstance(heads, list | tuple) else int(heads)
        size = int(of("embedding_length")) // most_heads
        return HALF * kv_heads * (int(of("attention.key_length") or size) + int(of("attention.value_length") or size))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
