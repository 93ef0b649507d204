"""What a count of the books carries to the next (store/counting.py), and an index from accounts to their keys."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "counted",
        sa.Column("account_id", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("number", "seq", "ledger_id")),
        sa.PrimaryKeyConstraint("account_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "counted_keys",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("account_id", "key_id", "month"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "counted_entries",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "kind"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "book_counts",
        sa.Column("id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("number", "full_us")),
        sa.Column("full_seconds", sa.Float(), nullable=False),
        sa.Column("counted_us", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("differences", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("balance", "held")),
        sa.PrimaryKeyConstraint("id"),
    )
    if op.get_bind().dialect.name != "postgresql":
        op.create_index("keys_by_account", "keys", ["account_id"])
        return
    with op.get_context().autocommit_block():  # beside writers; a build that was cut short is begun again
        op.execute("DROP INDEX IF EXISTS keys_by_account")
        op.execute("CREATE INDEX CONCURRENTLY keys_by_account ON keys (account_id)")
