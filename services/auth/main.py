"""The auth process: settings, database, domain, servicer, serve."""

from __future__ import annotations

import asyncio
import secrets

from common.key_format import RandomBytes
from muhgpt.auth.v1 import auth_pb2
from muhgpt.auth.v1.auth_pb2_grpc import add_AuthServicer_to_server
from servicekit.clock import Clock, SystemClock
from servicekit.database.database import Database, open_database
from servicekit.process.run import run
from servicekit.rpc.service import begin_service
from services.auth.domain.accounts import Accounts
from services.auth.domain.bell import Bell
from services.auth.domain.keys import Keys
from services.auth.domain.principal import Defaults
from services.auth.domain.revocation import Confirmations
from services.auth.domain.sessions import SessionPolicy
from services.auth.messages import cache_mark
from services.auth.metrics import ConfirmationMetrics
from services.auth.migrate import COMMAND, MIGRATIONS
from services.auth.running.heartbeats import Heartbeats
from services.auth.running.key_subscription import KeySubscriptions
from services.auth.running.late_sessions import SharedLook
from services.auth.running.pulse import Pulse
from services.auth.service import AuthServicer
from services.auth.settings import AuthSettings
from services.auth.store.accounts import AccountTable
from services.auth.store.changes import ChangeTable
from services.auth.store.keys import KeyTable

SERVICE = auth_pb2.DESCRIPTOR.services_by_name["Auth"]

# No other process writes to a SQLite file, so there the pulse only catches a commit whose outcome was unknown.
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
    changes, changed, acknowledged = ChangeTable(database, clock), Bell(), Bell()
    late = SharedLook(changes, policy).late
    confirmations = Confirmations(late, acknowledged, policy, clock, ConfirmationMetrics())
    accounts = Accounts(AccountTable(database), changed, confirmations, clock, random_bytes)
    keys = Keys(KeyTable(database), changed, confirmations, defaults, clock, random_bytes)
    pulse = Pulse(changes, changed, PULSE_ALONE if database.dialect == "sqlite" else policy.poll_interval)
    subscriptions = KeySubscriptions(
        store=changes,
        heartbeats=Heartbeats(changes, policy),
        pulse=pulse,
        changed=changed,
        acknowledged=acknowledged,
        policy=policy,
        clock=clock,
        draining=draining,
        cache_mark=cache_mark(defaults),
    )
    return AuthServicer(accounts, keys, subscriptions, clock)


async def main() -> None:
    service = begin_service("auth", AuthSettings)
    settings = service.settings
    service.serve_metrics()
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
        server = service.server()
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
