"""From `engine: llama` in the model list to its engine."""

from __future__ import annotations

from common.model_list import DEFAULT_FILE, DEFAULT_PROJECTOR, LlamaTarget, ModelEntry
from services.inference import default_model
from services.inference.engines.llama.engine import LlamaEngine, ModelTraits
from services.inference.engines.llama.process import WorkerConfig
from services.inference.engines.llama.supervisor import Patience
from services.inference.engines.shared import Shared, new_call_id


def build_llama(entry: ModelEntry, target: LlamaTarget, key: str, shared: Shared) -> LlamaEngine:
    """An engine that is not started yet. It needs no key."""
    settings = shared.settings
    config = WorkerConfig(
        file=default_model.FILE if target.file in (None, DEFAULT_FILE) else target.file,
        context_length=target.context_length,
        slots=settings.llama_slots,
        threads=settings.threads,
        prompt_cache_mib=settings.llama_prompt_cache_mib,
        start_timeout=settings.llama_start_timeout,
        projector=default_model.PROJECTOR if target.projector == DEFAULT_PROJECTOR else target.projector,
    )
    patience = Patience(stall=settings.llama_stall_timeout)
    return LlamaEngine(ModelTraits(entry.id, entry.abilities), config, shared.clock, new_call_id, patience)
