"""What receipts will say: endpoint, member, units, cached tokens, what was produced, why it ended, and how it was asked.

On PostgreSQL, while the version before still ends charges, or does again, a trigger adds them to usage_by for it, and
marks them as produced. This version marks what it ends itself, so its own updates do not set the trigger off. A later
migration drops it. SQLite has one process, of one version: a trigger would cost it 5 % for what happens only when the
new version is taken back.
"""

import sqlalchemy as sa
from alembic import op

from servicekit.database.schema import lock_table

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TEXTS = ("endpoint", "member_id", "units", "end_reason", "request_id", "idempotency")
NUMBERS = ("cached_tokens", "cached_price", "first_token_ms")

ENDED = "OLD.state = 1 AND NEW.state <> 1 AND NEW.produced IS NULL AND NEW.output_tokens > 0"
ADD = """
    INSERT INTO usage_by (account_id, day, model, endpoint, key_id, member_id,
        credits, requests, prompt_tokens, output_tokens, last_used_us)
    VALUES (NEW.account_id, NEW.day, NEW.model, coalesce(NEW.endpoint, 'chat'), NEW.key_id, coalesce(NEW.member_id, ''),
        NEW.credits, 1, NEW.prompt_tokens, NEW.output_tokens, NEW.ended_us)
    ON CONFLICT (account_id, day, model, endpoint, key_id, member_id) DO UPDATE SET
        credits = usage_by.credits + excluded.credits, requests = usage_by.requests + excluded.requests,
        prompt_tokens = usage_by.prompt_tokens + excluded.prompt_tokens,
        output_tokens = usage_by.output_tokens + excluded.output_tokens, last_used_us = excluded.last_used_us;
    UPDATE charges SET produced = true WHERE hold_id = NEW.hold_id;
"""
FUNCTION = f"""
CREATE OR REPLACE FUNCTION usage_by_of_version_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
{ADD}
    RETURN NULL;
END
$$
"""
TRIGGER = f"""
CREATE TRIGGER usage_by_of_version_before AFTER UPDATE ON charges FOR EACH ROW WHEN ({ENDED})
EXECUTE FUNCTION usage_by_of_version_before()
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.execute(FUNCTION)
        lock_table(connection, "charges")
        added = [f"{name} text" for name in TEXTS] + [f"{name} bigint" for name in NUMBERS] + ["produced boolean"]
        op.execute(f"ALTER TABLE charges {', '.join(f'ADD COLUMN IF NOT EXISTS {each}' for each in added)}")
        op.execute(TRIGGER)
        return
    for name in TEXTS:
        op.add_column("charges", sa.Column(name, sa.Text(), nullable=True))
    for name in NUMBERS:
        op.add_column("charges", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("charges", sa.Column("produced", sa.Boolean(), nullable=True))
