"""The inference process: settings → model list → engines → domain → servicer → serve."""

from __future__ import annotations

import asyncio
import os
import secrets

from common.model_list import ModelList, load_model_list, with_model_file
from muhgpt.inference.v1 import inference_pb2, inference_pb2_grpc
from servicekit.clock import Clock, SystemClock
from servicekit.process.reload import Reloads
from servicekit.process.run import run
from servicekit.rpc.service import Service, begin_service
from servicekit.timer_wheel import TimerWheel
from services.inference import metrics
from services.inference.domain.images import ImageLimits, ImageLoader
from services.inference.domain.preparation import Handles, Preparer
from services.inference.engines.factory import EngineFactory
from services.inference.fleet import Fleet
from services.inference.images.decoders import DecoderPool
from services.inference.images.fetcher import FetchLimits, ImageFetcher
from services.inference.service import InferenceServicer
from services.inference.settings import InferenceSettings


async def main() -> None:
    """Serves until SIGTERM; reads the model list again on SIGHUP. Raises StartupError that says what is wrong where."""
    service = begin_service("inference", InferenceSettings)
    settings = service.settings
    clock, timers = SystemClock(), TimerWheel()
    images = Images(settings)
    fleet = Fleet(EngineFactory(settings, clock, os.environ, timers), settings.queue_limit, images.start)
    reloads = Reloads(lambda: fleet.reload(_models(settings)))
    try:
        await fleet.start(_models(settings))
        service.serve_metrics()
        reloading = asyncio.create_task(reloads.run())
        await _serve(service, fleet, images, clock, timers)
        reloading.cancel()
        await asyncio.gather(reloading, return_exceptions=True)
    finally:
        await fleet.close()
        await images.close()


class Images:
    """What loads images; its processes are started for the first model that has vision."""

    def __init__(self, settings: InferenceSettings) -> None:
        self.decoders = DecoderPool(
            settings.images_processes,
            timeout=settings.images_decode_timeout,
            pixels=settings.images_max_pixels,
            memory_mib=settings.images_decode_memory_mib,
        )
        self.fetcher = ImageFetcher(_fetch_limits(settings)) if settings.images_remote else None
        limits = ImageLimits(
            count=settings.images_limit,
            file_bytes=settings.images_max_bytes,
            side=settings.images_side,
            memory=settings.images_memory_mib * 1024 * 1024,
        )
        self.loader = ImageLoader(self.fetcher, self.decoders, limits)

        self._started = False

    async def start(self) -> None:
        """Starts the processes, once."""
        if not self._started:
            await self.decoders.start()
            self._started = True

    async def close(self) -> None:
        """Ends downloads and processes."""
        await self.decoders.close()
        if self.fetcher is not None:
            await self.fetcher.close()


def _models(settings: InferenceSettings) -> ModelList:
    return with_model_file(load_model_list(settings.models_file), settings.model_file)


def _fetch_limits(settings: InferenceSettings) -> FetchLimits:
    return FetchLimits(
        file_bytes=settings.images_max_bytes,
        timeout=settings.images_timeout,
        ports=settings.ports,
        allowed=settings.allowed_hosts,
    )


async def _serve(
    service: Service[InferenceSettings],
    fleet: Fleet,
    images: Images,
    clock: Clock,
    timers: TimerWheel,
) -> None:
    settings = service.settings
    server = service.server(max_message_bytes=settings.max_message_bytes)
    registry = fleet.registry
    metrics.WAITING.set_function(lambda: registry.load.read().waiting)
    metrics.RUNNING.set_function(lambda: registry.load.read().running)
    preparer = Preparer(registry, settings.max_prompt_bytes, images.loader)
    handles = Handles(clock, lambda: secrets.token_bytes(16), settings.prepared_limit)
    servicer = InferenceServicer(
        registry,
        preparer,
        handles,
        clock,
        server.draining,
        timers=timers,
        max_generations=settings.max_generations,
    )
    descriptor = inference_pb2.DESCRIPTOR.services_by_name["Inference"]
    server.add(servicer, inference_pb2_grpc.add_InferenceServicer_to_server, descriptor)
    await server.run()


if __name__ == "__main__":
    run(main)
