"""Accounts and keys note which of their admissions a clock stamped that was ahead (domain/clock_steps.py)."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A test runs today's statements on an old schema, so there the columns may be there already.
    repeated = op.get_bind().dialect.name == "postgresql" or None
    for table in ("accounts", "keys"):
        for name in ("clock_seq", "clock_us"):
            column = sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
            op.add_column(table, column, if_not_exists=repeated)
