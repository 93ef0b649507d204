"""Charges know whether their answer was confirmed, what was given back, and whether they were estimated; the loss book.

The version before goes on: it names its columns when it writes, and the new ones have defaults. On PostgreSQL the
columns are added under a lock of milliseconds; their indexes come with 0008.
"""

import sqlalchemy as sa
from alembic import op

from servicekit.database.schema import lock_table

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KINDS = ("uncollected", "estimate_minus_usage", "answer_refunds", "retry_refunds", "abandoned", "forgiven")

COLUMNS = """
ALTER TABLE charges ADD COLUMN IF NOT EXISTS unconfirmed boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS refunded bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS estimated boolean NOT NULL DEFAULT false
"""


def upgrade() -> None:
    connection = op.get_bind()
    op.create_table(
        "losses",
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        *(sa.Column(kind, sa.BigInteger(), nullable=False, server_default=sa.text("0")) for kind in KINDS),
        sa.PrimaryKeyConstraint("day", "account_id"),
        sqlite_with_rowid=False,
    )
    op.add_column("carried_forward", _credits("refunded"))
    if connection.dialect.name == "postgresql":
        lock_table(connection, "charges")
        op.execute(COLUMNS)
        return
    for column in (_flag("unconfirmed"), _credits("refunded"), _flag("estimated")):
        op.add_column("charges", column)
    op.create_index("charges_unconfirmed", "charges", ["session_id"], sqlite_where=sa.text("unconfirmed"))


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def _credits(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
