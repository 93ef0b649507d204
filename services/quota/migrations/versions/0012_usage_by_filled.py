"""Fills usage_by from the charges that are there, in steps of some thousands, beside requests.

Of charges that end meanwhile the trigger of 0011 takes care: it marks them, and marked ones are left out here. Each step
notes how far it came in the same transaction, so a migration that was cut short goes on from there. On PostgreSQL a step
locks its accounts first, in the order of their ids, as every batch of requests does.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STEP = 2_000  # charges; some ten milliseconds
NAMES = "account_id, day, model, endpoint, key_id, member_id"
SUMS = "credits, requests, prompt_tokens, output_tokens, last_used_us"
ADD = f"""
INSERT INTO usage_by ({NAMES}, {SUMS})
SELECT account_id, day, model, coalesce(endpoint, 'chat'), key_id, coalesce(member_id, ''),
    sum(credits), count(*), sum(prompt_tokens), sum(output_tokens), max(ended_us)
FROM {{source}}
WHERE state <> 1 AND output_tokens > 0 AND refunded = 0 AND produced IS NULL{{locked}}
GROUP BY 1, 2, 3, 4, 5, 6
ON CONFLICT ({NAMES}) DO UPDATE SET
    credits = usage_by.credits + excluded.credits, requests = usage_by.requests + excluded.requests,
    prompt_tokens = usage_by.prompt_tokens + excluded.prompt_tokens,
    output_tokens = usage_by.output_tokens + excluded.output_tokens,
    last_used_us = CASE WHEN excluded.last_used_us > usage_by.last_used_us
        THEN excluded.last_used_us ELSE usage_by.last_used_us END
"""
PLACE = "CREATE TABLE IF NOT EXISTS usage_by_filled AS SELECT '\\x'::bytea AS upto"
POSTGRES_STEP = f"""
WITH step AS MATERIALIZED (
    SELECT hold_id, account_id, day, model, endpoint, key_id, member_id, credits, prompt_tokens, output_tokens, ended_us,
        state, refunded, produced
    FROM charges WHERE hold_id > '\\x{{upto}}' ORDER BY hold_id LIMIT {STEP}
), locked AS MATERIALIZED (
    SELECT id FROM accounts WHERE id IN (SELECT account_id FROM step) ORDER BY id FOR UPDATE
), added AS ({ADD.format(source="step", locked=" AND (SELECT count(*) FROM locked) >= 0")} RETURNING 1)
UPDATE usage_by_filled SET upto = (SELECT hold_id FROM step ORDER BY hold_id DESC LIMIT 1) WHERE EXISTS (SELECT FROM step) RETURNING upto
"""
SQLITE_STEP = ADD.format(source="(SELECT * FROM charges WHERE hold_id > :upto AND hold_id <= :end)", locked="")
SQLITE_END = (
    f"SELECT max(hold_id) FROM (SELECT hold_id FROM charges WHERE hold_id > :upto ORDER BY hold_id LIMIT {STEP})"
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        _fill_sqlite(connection)
        return
    with op.get_context().autocommit_block():
        op.execute(PLACE)
        upto = connection.execute(sa.text("SELECT upto FROM usage_by_filled")).scalar_one()
        while upto is not None:
            upto = connection.exec_driver_sql(POSTGRES_STEP.format(upto=upto.hex())).scalar()
    # In the transaction that notes this revision: without the place, a start after a crash would add everything again.
    op.execute("DROP TABLE usage_by_filled")


def _fill_sqlite(connection: Connection) -> None:
    upto = b""
    while (end := connection.execute(sa.text(SQLITE_END), {"upto": upto}).scalar_one()) is not None:
        connection.execute(sa.text(SQLITE_STEP), {"upto": upto, "end": end})
        upto = end
