"""The inference process: settings → model list → engines → domain → servicer → serve."""

from __future__ import annotations

import asyncio
import secrets

from muhgpt.inference.v1 import inference_pb2, inference_pb2_grpc
from servicekit import logging
from servicekit.access import Tokens
from servicekit.clock import Clock, SystemClock
from servicekit.metrics import serve_metrics
from servicekit.process import run
from servicekit.server import Server
from servicekit.settings import load, read_secret
from services.inference import metrics
from services.inference.domain.images import ImageLimits, ImageLoader
from services.inference.domain.preparation import Handles, Preparer
from services.inference.domain.registry import ModelCard, Registry
from services.inference.engines.llama.engine import LlamaEngine, ModelTraits
from services.inference.engines.llama.process import WorkerConfig
from services.inference.engines.llama.supervisor import Patience
from services.inference.images.decoders import DecoderPool
from services.inference.images.fetcher import FetchLimits, ImageFetcher
from services.inference.service import InferenceServicer
from services.inference.settings import InferenceSettings
from services.model_list import DEFAULT_FILE, ModelEntry, load_model_list

# The model list does not tell when an alias was added, and OpenAI's clients want a number: the platform's first day.
CREATED = 1_767_225_600


async def main() -> None:
    """Serves until SIGTERM. Raises StartupError that says what is wrong and where."""
    settings = load(InferenceSettings)
    logging.configure("inference", format=settings.log_format, level=settings.log_level)
    tokens = Tokens(edge=read_secret(settings.edge_token_file), operator=read_secret(settings.operator_token_file))
    entries = list(load_model_list(settings.models_file).models.values())
    clock = SystemClock()
    engines = [_engine(entry, settings, clock) for entry in entries]
    images = Images(settings) if any("vision" in entry.abilities for entry in entries) else None
    try:
        if images is not None:
            await images.decoders.start()
        await start_all(engines)
        serve_metrics(settings.metrics_listen)
        await _serve(settings, tokens, entries, engines, images, clock)
    finally:
        await asyncio.gather(*(engine.close() for engine in engines))
        if images is not None:
            await images.close()


class Images:
    """What loads images, when a model has vision."""

    def __init__(self, settings: InferenceSettings) -> None:
        self.decoders = DecoderPool(
            settings.images_processes, timeout=settings.images_decode_timeout, pixels=settings.images_max_pixels
        )
        self.fetcher = ImageFetcher(_fetch_limits(settings)) if settings.images_remote else None
        limits = ImageLimits(
            count=settings.images_limit,
            file_bytes=settings.images_max_bytes,
            side=settings.images_side,
            memory=settings.images_memory_mib * 1024 * 1024,
        )
        self.loader = ImageLoader(self.fetcher, self.decoders, limits)

    async def close(self) -> None:
        """Ends downloads and processes."""
        await self.decoders.close()
        if self.fetcher is not None:
            await self.fetcher.close()


def _fetch_limits(settings: InferenceSettings) -> FetchLimits:
    return FetchLimits(
        file_bytes=settings.images_max_bytes,
        timeout=settings.images_timeout,
        ports=settings.ports,
        allowed=settings.allowed_hosts,
    )


async def start_all(engines: list[LlamaEngine]) -> None:
    """Loads the models one after the other: together they would fight for the cores and the disk."""
    for engine in engines:
        await engine.start()


async def _serve(
    settings: InferenceSettings,
    tokens: Tokens,
    entries: list[ModelEntry],
    engines: list[LlamaEngine],
    images: Images | None,
    clock: Clock,
) -> None:
    server = Server(
        name="inference",
        listen=settings.listen,
        tokens=tokens,
        drain_timeout=settings.drain_timeout,
        max_message_bytes=settings.max_message_bytes,
        address_file=settings.address_file,
    )
    models = [(_card(entry, engine), engine) for entry, engine in zip(entries, engines, strict=True)]
    registry = Registry(models, settings.queue_limit)
    metrics.WAITING.set_function(lambda: registry.load.read().waiting)
    metrics.RUNNING.set_function(lambda: registry.load.read().running)
    preparer = Preparer(registry, settings.max_prompt_bytes, images.loader if images else None)
    handles = Handles(clock, lambda: secrets.token_bytes(16), settings.prepared_limit)
    servicer = InferenceServicer(registry, preparer, handles, clock, server.draining)
    descriptor = inference_pb2.DESCRIPTOR.services_by_name["Inference"]
    server.add(servicer, inference_pb2_grpc.add_InferenceServicer_to_server, descriptor)
    await server.run()


def _engine(entry: ModelEntry, settings: InferenceSettings, clock: Clock) -> LlamaEngine:
    config = WorkerConfig(
        file=settings.model_file or entry.file or DEFAULT_FILE,
        context_length=entry.context_length,
        slots=settings.llama_slots,
        threads=settings.threads,
        prompt_cache_mib=settings.llama_prompt_cache_mib,
        start_timeout=settings.llama_start_timeout,
        projector=entry.projector,
    )
    patience = Patience(stall=settings.llama_stall_timeout)
    return LlamaEngine(ModelTraits(entry.id, entry.abilities), config, clock, _new_call_id, patience)


def _card(entry: ModelEntry, engine: LlamaEngine) -> ModelCard:
    return ModelCard(entry.id, entry.aliases, engine.context_length, entry.abilities, CREATED)


def _new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


if __name__ == "__main__":
    run(main)
