"""Settings of the inference service, from the environment: MUHGPT_INFERENCE_…"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from servicekit.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """What the inference service takes."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="MUHGPT_INFERENCE_")

    address_file: Path | None = Field(None, description="file that receives the bound address once it serves")
    models_file: Path | None = Field(None, description="the model list; absent: the one that comes with the project")
    model_file: Path | None = Field(None, description="a GGUF that replaces `file:` of every llama model of the list")
    llama_slots: int = Field(4, ge=1, le=64, description="choices that one embedded model generates at once")
    llama_threads: int | None = Field(
        None, ge=1, le=1024, description="threads of one embedded model; absent: cores less one, at most 2"
    )
    llama_prompt_cache_mib: int = Field(256, ge=0, le=1_000_000, description="memory for prompts met before")
    llama_start_timeout: float = Field(120.0, gt=0, le=3600, description="seconds that loading a model may take")
    llama_stall_timeout: float = Field(
        30.0, gt=0, le=3600, description="seconds without an answer after which a worker is killed and restarted"
    )
    queue_limit: int = Field(256, ge=1, le=100_000, description="requests that may wait for one engine")
    prepared_limit: int = Field(256, ge=1, le=10_000, description="large requests kept prepared ahead of their streams")
    max_message_bytes: int = Field(
        32 * 1024 * 1024, ge=4 * 1024 * 1024, le=1024**3, description="largest gRPC message taken: requests with images"
    )
    max_prompt_bytes: int = Field(1024 * 1024, ge=1024, le=1024**3, description="characters of a request's messages")

    @property
    def threads(self) -> int:
        """Small models gain nothing from more than two, and a busy machine loses (docs/engine.md)."""
        return self.llama_threads or max(1, min((os.cpu_count() or 2) - 1, 2))
