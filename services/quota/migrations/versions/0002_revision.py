"""Accounts have a revision, so that a replica can tell whether what it remembers of one still holds."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Rows that every request changes: room for the new version beside the old one saves their indexes the change.
OFTEN_UPDATED = ("accounts", "key_months", "usage_daily")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("revision", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    if op.get_bind().dialect.name == "postgresql":
        for table in OFTEN_UPDATED:
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 60)")
