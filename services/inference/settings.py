"""Settings of the inference service, from the environment: MUHGPT_INFERENCE_…"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from servicekit.settings import ServiceSettings
from services.inference.domain.addresses import AllowList


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
    max_generations: int = Field(
        4096, ge=1, le=1_000_000, description="requests of one edge worker prepared, waiting or generating"
    )
    max_message_bytes: int = Field(
        32 * 1024 * 1024, ge=4 * 1024 * 1024, le=1024**3, description="largest gRPC message taken: requests with images"
    )
    max_prompt_bytes: int = Field(1024 * 1024, ge=1024, le=1024**3, description="characters of a request's messages")

    images_remote: bool = Field(True, description="whether images may be given as http(s) URLs")
    images_allowed: str | None = Field(
        None, description="hosts and networks, with commas between, that image URLs may lead to though not public"
    )
    images_ports: str = Field("80,443", description="ports that image URLs may use, with commas between")
    images_timeout: float = Field(10.0, gt=0, le=300, description="seconds to download one image")
    images_decode_timeout: float = Field(10.0, gt=0, le=300, description="seconds to decode one image")
    images_processes: int = Field(2, ge=1, le=64, description="processes that decode images")
    images_decode_memory_mib: int = Field(
        384, ge=128, le=65_536, description="memory that one process which decodes images may take"
    )
    images_limit: int = Field(16, ge=1, le=256, description="images of one request")
    images_memory_mib: int = Field(
        128, ge=1, le=1_000_000, description="memory for images that are loaded, and pictures of requests"
    )
    images_max_bytes: int = Field(10 * 1024 * 1024, ge=1024, le=1024**3, description="largest image file")
    images_max_pixels: int = Field(40_000_000, ge=1024, le=200_000_000, description="most pixels of an image")
    images_side: int = Field(1024, ge=64, le=4096, description="pixels; larger images are made smaller for the model")

    @field_validator("images_allowed")
    @classmethod
    def _check_allowed(cls, value: str | None) -> str | None:
        AllowList.parse(value or "")
        return value

    @field_validator("images_ports")
    @classmethod
    def _check_ports(cls, value: str) -> str:
        for place, port in enumerate(value.split(","), 1):
            if not (port.strip().isdecimal() and 0 < int(port) < 65536):
                raise ValueError(f"entry {place} is not a port, 1 to 65535")
        return value

    @property
    def allowed_hosts(self) -> AllowList:
        """`images_allowed`, read."""
        return AllowList.parse(self.images_allowed or "")

    @property
    def ports(self) -> frozenset[int]:
        """`images_ports`, read."""
        return frozenset(int(port) for port in self.images_ports.split(","))

    @property
    def threads(self) -> int:
        """Small models gain nothing from more than two, and a busy machine loses (docs/engine.md)."""
        return self.llama_threads or max(1, min((os.cpu_count() or 2) - 1, 2))
