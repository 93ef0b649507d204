"""Quota: settings → store → domain → servicer → serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from common.model_list import load_model_list
from muhgpt.quota.v1 import quota_pb2
from muhgpt.quota.v1.quota_pb2_grpc import add_QuotaServicer_to_server
from servicekit.clock import SystemClock
from servicekit.database.database import Database, open_database
from servicekit.errors import DatabaseUnavailable, StartupError
from servicekit.observability.logging import get_logger
from servicekit.process.reload import Reloads
from servicekit.process.run import run
from servicekit.rpc.server import Server
from servicekit.rpc.service import begin_service
from services.quota import metrics
from services.quota.domain.operations import Operation
from services.quota.domain.outcomes import Outcome
from services.quota.domain.pricing import Price, PriceBook
from services.quota.domain.reports import Reports
from services.quota.domain.store import Store
from services.quota.migrate import COMMAND, MIGRATIONS
from services.quota.running.books_metrics import watch_books
from services.quota.running.group_commit import Apply, Writer
from services.quota.running.guard import Guard, watch_losses
from services.quota.running.housekeeping import run_housekeeping
from services.quota.running.sweeper import run_sweeper
from services.quota.service import Leases, QuotaServicer
from services.quota.settings import QuotaSettings
from services.quota.store.postgres.store import PostgresStore
from services.quota.store.reading.reader import Reader
from services.quota.store.sqlite.store import SqliteStore

log = get_logger(__name__)


async def main() -> None:
    service = begin_service("quota", QuotaSettings)
    settings = service.settings
    service.serve_metrics()
    prices = PriceBook(read_prices(settings))
    reloads = Reloads(partial(reload_prices, prices, settings))
    async with opened(settings) as (database, store):
        writer = Writer(timed(store.apply), shards=shards(settings, database), observe=metrics.BATCH.observe)
        metrics.QUEUED.set_function(lambda: writer.queued)
        reader, clock = Reader(database), SystemClock()
        server = service.server()
        guard = Guard(clock)
        servicer = QuotaServicer(
            store=store,
            reader=reader,
            writer=writer,
            prices=prices,
            guard=guard,
            leases=Leases(settings.lease, settings.lease / 3),
            clock=clock,
            draining=server.draining,
        )
        server.add(servicer, add_QuotaServicer_to_server, quota_pb2.DESCRIPTOR.services_by_name["Quota"])
        await serve(server, writer, [reloads.run(), *background(settings, store, writer, reader, guard)])


def background(
    settings: QuotaSettings, store: Store, writer: Writer, reports: Reports, guard: Guard
) -> Iterator[Coroutine[Any, Any, None]]:
    """What runs beside the requests."""
    clock = SystemClock()
    yield writer.run()
    yield run_housekeeping(store, settings.retention_months)
    yield watch_books(reports, clock, interval=settings.books_interval)
    yield run_sweeper(store, writer, lease=settings.lease, interval=settings.sweep_interval)
    if settings.losses_per_day_limit is not None:
        yield watch_losses(reports, guard, clock, settings.losses_per_day_limit)


async def serve(server: Server, writer: Writer, loops: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Serves until the process is asked to stop; what was submitted by then is committed."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        await server.run()
        await writer.drained()
        for task in tasks:
            task.cancel()


def timed(apply: Apply) -> Apply:
    """The same, with each transaction's time for the metrics."""

    async def observed(operations: Sequence[Operation]) -> list[Outcome]:
        with metrics.COMMIT_SECONDS.time():
            return await apply(operations)

    return observed


def read_prices(settings: QuotaSettings) -> dict[str, Price]:
    """The prices in the model list. Raises StartupError with file, line and field."""
    models = load_model_list(settings.models_file).models
    return {name: Price(each.price.input, each.price.output) for name, each in models.items()}


async def reload_prices(prices: PriceBook, settings: QuotaSettings) -> None:
    """Takes the list's prices for new requests. Raises StartupError, and keeps the old ones then."""
    new = await asyncio.to_thread(read_prices, settings)
    prices.replace(new)
    log.info("prices_reloaded", models=list(new))


@asynccontextmanager
async def opened(settings: QuotaSettings) -> AsyncIterator[tuple[Database, Store]]:
    """The migrated database and the store that writes to it."""
    async with open_database(
        settings.database_url,
        migrations=MIGRATIONS,
        schema=settings.database_schema,
        setting="MUHGPT_QUOTA_DATABASE_URL",
        migrate=settings.migrate,
        migrate_command=COMMAND,
        synchronous=settings.database_synchronous,
        ca_file=settings.database_ca_file,
        newer_schema=settings.newer_schema,
    ) as database:
        try:
            store = await _store(settings, database)
        except DatabaseUnavailable as error:
            raise StartupError(
                f"MUHGPT_QUOTA_DATABASE_URL: {error.message}, which it did a moment ago; start again when it does"
            ) from None
        try:
            yield database, store
        finally:
            await store.close()


async def _store(settings: QuotaSettings, database: Database) -> Store:
    if database.dialect == "sqlite":
        path = str(database.url.database)
        return await SqliteStore.open(path, SystemClock(), synchronous=settings.database_synchronous)
    return await PostgresStore.open(
        database.url,
        connections=settings.writers,
        schema=settings.database_schema,
        moved=database.reconnect,
    )


def shards(settings: QuotaSettings, database: Database) -> int:
    """SQLite has one writer whatever is asked."""
    return 1 if database.dialect == "sqlite" else settings.writers


if __name__ == "__main__":
    run(main)
