"""Usage by endpoint, key and member; what accounts owe, and below which balance they are warned.

The version before goes on: it names its columns when it writes, and the new ones have defaults.
"""

import sqlalchemy as sa
from alembic import op

from servicekit.database.schema import lock_table

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAMES = ("account_id", "day", "model", "endpoint", "key_id", "member_id")
SUMS = ("credits", "requests", "prompt_tokens", "output_tokens", "last_used_us")
ACCOUNTS = """
ALTER TABLE accounts ADD COLUMN IF NOT EXISTS debt bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS notify_below bigint
"""


def upgrade() -> None:
    connection = op.get_bind()
    op.create_table(
        "usage_by",
        *(sa.Column(name, sa.Text(), nullable=False) for name in NAMES),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint(*NAMES),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    if connection.dialect.name == "postgresql":
        lock_table(connection, "accounts")
        op.execute(ACCOUNTS)
        return
    op.add_column("accounts", sa.Column("debt", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("accounts", sa.Column("notify_below", sa.BigInteger(), nullable=True))
