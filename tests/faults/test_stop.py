"""SIGTERM ends quota whatever it is reading just then."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.database.database import open_database
from servicekit.rpc.client import connect
from servicekit.rpc.status import RpcFailure
from services.quota.migrate import MIGRATIONS
from tests.worlds.parts.service import Service

pytestmark = pytest.mark.timeout(300)

DRAIN = 0.5  # seconds; a count takes several times as long
LEDGER = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500000)
INSERT INTO ledger (account_id, kind, credits, reference, reason, created_us, balance_after)
SELECT printf('acct_%06d', i / 10), 3, 0, '', '', 0, 0 FROM n
"""


async def test_quota_ends_in_the_middle_of_a_count_that_outlasts_its_drain_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'quota.db'}"
    async with open_database(url, migrations=MIGRATIONS) as database, database.write(timeout=120) as session:
        await (await session.connection()).execute(text(LEDGER))
    token = secrets.token_urlsafe(24)
    for who in ("edge", "operator"):
        (tmp_path / f"{who}.token").write_text(token if who == "operator" else secrets.token_urlsafe(24))
    settings = {
        "DATABASE_URL": url,
        "DRAIN_TIMEOUT": str(DRAIN),
        "EDGE_TOKEN_FILE": str(tmp_path / "edge.token"),
        "OPERATOR_TOKEN_FILE": str(tmp_path / "operator.token"),
    }
    quota = Service("quota-1", "quota", tmp_path, settings)
    quota.spawn()
    try:
        await quota.serving()
        peer = connect(quota.address, token=token, service="quota")
        counting = asyncio.create_task(
            peer.call(
                quota_pb2_grpc.QuotaStub(peer.channel).CheckBooks, quota_pb2.CheckBooksRequest(full=True), timeout=120
            )
        )
        await asyncio.wait([counting], timeout=DRAIN / 2)
        assert not counting.done()
        quota.terminate()
        with suppress(RpcFailure):
            await counting
        assert await quota.ended() == 0, quota.last_words()
        await peer.close()
    finally:
        quota.kill()
