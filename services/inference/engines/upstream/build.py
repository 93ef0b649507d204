"""From `engine: upstream` in the model list to its engine."""

from __future__ import annotations

from common.model_list import ModelEntry, Target, UpstreamTarget
from services.inference.engines.shared import Shared, new_call_id
from services.inference.engines.upstream.engine import UpstreamConfig, UpstreamEngine


def build_upstream(entry: ModelEntry, target: UpstreamTarget, key: str, shared: Shared) -> UpstreamEngine:
    """An engine that presents `key`. Raises StartupError when its tokenizer cannot be read."""
    config = _config(entry, target, key)
    try:
        return UpstreamEngine(config, shared.clock, new_call_id, shared.processes, shared.timers)
    except (OSError, ValueError) as error:
        assert target.tokenizer is not None  # the bundled ones load
        problem = getattr(error, "strerror", None) or error
        raise target.tokenizer.place.error(f"cannot count with it: {problem}") from None


def _config(entry: ModelEntry, target: UpstreamTarget, key: str) -> UpstreamConfig:
    headers = target.headers
    if key:
        headers += ((target.key_header, f"Bearer {key}" if target.key_header == "authorization" else key),)
    return UpstreamConfig(
        model_id=entry.id,
        abilities=entry.abilities,
        target=target.name,
        base_url=target.base_url,
        model=target.model,
        server=target.server,
        headers=headers,
        context_length=target.context_length,
        slots=target.max_concurrent,
        connect_timeout=target.connect_timeout,
        first_token_timeout=target.first_token_timeout,
        token_timeout=target.token_timeout,
        max_output_tokens=target.max_output_tokens,
        max_tokens_field=target.max_tokens_field,
        image_tokens=target.image_tokens,
        tokenizer=tokenizer_of(target),
        unsupported=target.unsupported | _missing_in_any(entry),
        key=key,
    )


def tokenizer_of(target: Target) -> str:
    """The name or file of what counts a target's tokens here; empty: the default estimate."""
    tokenizer = target.tokenizer
    if tokenizer is None:
        return ""
    return str(tokenizer.file) if tokenizer.file else tokenizer.name


def _missing_in_any(entry: ModelEntry) -> frozenset[str]:
    """What clients cannot have of a model, whichever of its targets answers: for them all targets are one model."""
    return frozenset({"logprobs"}) & frozenset().union(*(target.unsupported for target in entry.targets))
