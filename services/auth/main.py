"""The auth process: settings, database, domain, servicer, serve."""

from __future__ import annotations

import asyncio
import secrets

from common.key_format import RandomBytes
from muhgpt.auth.v1 import auth_pb2
from muhgpt.auth.v1.auth_pb2_grpc import add_AuthServicer_to_server
from servicekit.clock import Clock, SystemClock
from servicekit.database.database import Database, open_database
from servicekit.observability import logging, metrics, tracing
from servicekit.process.file_limit import raise_file_limit
from servicekit.process.run import run
from servicekit.rpc.access import read_tokens
from servicekit.rpc.server import Server
from servicekit.settings import load
from servicekit.tls.directory import open_tls
from services.auth.convert import cache_mark
from services.auth.domain.accounts import Accounts
from services.auth.domain.change import Bell
from services.auth.domain.keys import Keys
from services.auth.domain.principal import Defaults
from services.auth.domain.pulse import Pulse
from services.auth.domain.revocation import Confirmations
from services.auth.domain.sessions import Heartbeats, SessionPolicy
from services.auth.domain.watch import Watches
from services.auth.migrate import COMMAND, MIGRATIONS
from services.auth.service import AuthServicer
from services.auth.settings import AuthSettings
from services.auth.store.accounts import AccountTable
from services.auth.store.changes import ChangeTable
from services.auth.store.keys import KeyTable

SERVICE = auth_pb2.DESCRIPTOR.services_by_name["Auth"]

# Nobody else writes to a SQLite file, so there the pulse only catches a commit whose outcome was unknown.
PULSE_ALONE = 1.0  # seconds


def make_servicer(
    database: Database,
    *,
    policy: SessionPolicy,
    defaults: Defaults,
    draining: asyncio.Event,
    clock: Clock,
    random_bytes: RandomBytes,
) -> AuthServicer:
    """Wires the store, the domain and the servicer of one process."""
    changes, bell = ChangeTable(database, clock), Bell()
    confirmations = Confirmations(changes, bell, policy, clock)
    accounts = Accounts(AccountTable(database), bell, confirmations, clock, random_bytes)
    keys = Keys(KeyTable(database), bell, confirmations, defaults, clock, random_bytes)
    pulse = Pulse(changes, bell, PULSE_ALONE if database.dialect == "sqlite" else policy.poll_interval)
    mark = cache_mark(defaults)
    watches = Watches(changes, Heartbeats(changes, policy), pulse, bell, policy, clock, draining, mark)
    return AuthServicer(accounts, keys, watches, clock)


async def main() -> None:
    settings = load(AuthSettings)
    logging.configure("auth", format=settings.log_format, level=settings.log_level)
    raise_file_limit()
    tracing.configure("auth")
    tokens, tls = read_tokens(settings), open_tls(settings, "auth")
    metrics.serve_metrics(settings.metrics_listen)
    async with open_database(
        settings.database_url,
        migrations=MIGRATIONS,
        schema=settings.database_schema,
        setting="MUHGPT_AUTH_DATABASE_URL",
        migrate=settings.migrate,
        migrate_command=COMMAND,
        ca_file=settings.database_ca_file,
        newer_schema=settings.newer_schema,
    ) as database:
        server = Server(
            name="auth",
            listen=settings.listen,
            tokens=tokens,
            tls=tls,
            plaintext=settings.plaintext,
            health_listen=settings.health_listen,
            drain_timeout=settings.drain_timeout,
            address_file=settings.address_file,
        )
        servicer = make_servicer(
            database,
            policy=SessionPolicy(ttl=settings.session_ttl),
            defaults=Defaults(settings.default_requests_per_minute, settings.default_max_open_streams),
            draining=server.draining,
            clock=SystemClock(),
            random_bytes=secrets.token_bytes,
        )
        server.add(servicer, add_AuthServicer_to_server, SERVICE)
        await server.run()


if __name__ == "__main__":
    run(main)
