"""One edge process: the pipeline, and HTTP in front of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable

from servicekit.clock import Clock, SystemClock
from servicekit.observability import tracing
from servicekit.observability.logging import get_logger
from servicekit.observability.metrics import tell_build
from servicekit.timer_wheel import TimerWheel
from services.edge.app import EdgeApp
from services.edge.endpoints.endpoint import HotLimits
from services.edge.endpoints.routes import HOT
from services.edge.http.cors import Cors
from services.edge.http.descriptors import connections_that_fit
from services.edge.http.limits import LimitNumbers, Limits, RequestLimits
from services.edge.http.parsing.parser import BodyParser
from services.edge.http.parsing.pool import MIB, PoolNumbers
from services.edge.http.protocol import Bounds
from services.edge.http.server import HttpServer
from services.edge.peers.streaming.resolver import Resolver, SystemResolver
from services.edge.process.connect import make_peers
from services.edge.serving.pipeline import Pipeline
from services.edge.serving.preparations import Preparations
from services.edge.settings import EdgeSettings

log = get_logger(__name__)

# Seconds that HTTP waits longer than the pipeline, so that answers that are cut still say so to their clients.
DRAIN_MARGIN = 2.0


async def serve(
    settings: EdgeSettings,
    listener: socket.socket,
    *,
    on_started: Callable[[], Awaitable[None]],
    parent: int | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, or until the file descriptor `parent` ends because the supervisor died."""
    clock = SystemClock()
    tracing.configure("edge")
    tell_build()
    budget = Limits(clock, numbers_of(settings))
    timers = TimerWheel()
    preparations = Preparations(settings.max_preparations_per_account, budget.spending.charge_account)
    pipeline = make_pipeline(settings, clock, preparations=preparations, timers=timers)
    parser = BodyParser(budget, [each.body for each in HOT], parsers_of(settings))
    server = make_server(settings, pipeline, clock, on_started, budget=budget, parser=parser, timers=timers)
    asked = _asked_to_stop(server, parent)
    await pipeline.start()
    parser.start()
    try:
        serving = asyncio.create_task(server.run_on(listener))
        stopping = asyncio.create_task(asked.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # HTTP takes no more connections, but what it has taken is served: also a request whose body is still coming.
        pipeline.leave()
        until = clock.monotonic() + settings.drain_timeout
        await asyncio.wait({serving}, timeout=settings.drain_timeout)
        await pipeline.drain(max(0.0, until - clock.monotonic()))
        await serving
    finally:
        await parser.close()
        await pipeline.close()
    log.info("stopped")


def make_server(
    settings: EdgeSettings,
    pipeline: Pipeline,
    clock: Clock,
    on_started: Callable[[], Awaitable[None]],
    *,
    budget: Limits | None = None,
    parser: BodyParser | None = None,
    timers: TimerWheel | None = None,
) -> HttpServer:
    """The HTTP server in front of a pipeline."""
    cors = Cors.parse(settings.cors_origins)
    app = EdgeApp(
        pipeline,
        clock=clock,
        limits=HotLimits(settings.max_body_bytes, settings.request_timeout, settings.heartbeat),
        reads_per_minute=settings.reads_per_minute,
        cors=cors,
        budget=budget,
        parser=parser,
        trust_traceparent=settings.trust_traceparent,
        timers=timers,
    )
    return HttpServer(
        app,
        bounds=bounds_of(settings),
        keepalive_timeout=settings.keepalive_timeout,
        drain_timeout=settings.drain_timeout + DRAIN_MARGIN,
        cors=cors,
        limits=budget,
        on_started=on_started,
    )


def make_pipeline(
    settings: EdgeSettings,
    clock: Clock,
    resolver: Resolver | None = None,
    *,
    preparations: Preparations | None = None,
    timers: TimerWheel | None = None,
) -> Pipeline:
    """The pipeline to the three services. Raises StartupError for addresses, files or a secret that cannot be used."""
    return Pipeline(
        make_peers(settings, resolver or SystemResolver()),
        clock,
        edge_name=f"{socket.gethostname()}:{os.getpid()}",
        preparations=preparations,
        cached_keys=settings.cached_keys,
        max_unfinished_holds=settings.max_unfinished_holds,
        timers=timers,
    )


def numbers_of(settings: EdgeSettings) -> LimitNumbers:
    """What clients may hold and spend."""
    return LimitNumbers(
        request=RequestLimits(settings.max_parts, settings.max_nesting, settings.max_validation_errors),
        held_body_bytes=settings.held_body_bytes,
        held_body_bytes_per_account=settings.held_body_bytes_per_account,
        connections=connections_that_fit(settings.max_connections),
        connections_per_source=settings.max_connections_per_source,
        unauthorized_per_minute=settings.unauthorized_per_minute,
        discarded_bytes_per_second=settings.discarded_bytes_per_second,
        refused_cpu_seconds=settings.refused_cpu_seconds,
        trusted_proxies=settings.trusted_proxies,
        proxy_header=settings.proxy_header,
    )


def parsers_of(settings: EdgeSettings) -> PoolNumbers:
    """The processes that parse large bodies. A picture is there as JSON, text, bytes and message at once."""
    memory = max(settings.parser_memory_bytes, 96 * MIB + 8 * settings.max_body_bytes)
    return PoolNumbers(settings.parsers, settings.parse_timeout, memory)


def bounds_of(settings: EdgeSettings) -> Bounds:
    """What one connection may take."""
    return Bounds(
        header_bytes=settings.max_header_bytes,
        header_timeout=settings.header_timeout,
        body_timeout=settings.body_timeout,
        upload_timeout=settings.upload_timeout,
        write_timeout=settings.write_timeout,
    )


def _asked_to_stop(server: HttpServer, parent: int | None) -> asyncio.Event:
    """Set, with the server told, when the process is to stop."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def stop() -> None:
        log.info("draining")
        server.stop()
        asked.set()

    def orphaned() -> None:
        if parent is not None:
            loop.remove_reader(parent)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if parent is not None:
        loop.add_reader(parent, orphaned)
    return asked
