"""What charges that are no longer kept had cost: the books balance without them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "carried_forward",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("credits >= 0", name="carried_never_negative"),
        sa.PrimaryKeyConstraint("account_id", "key_id", "month"),
        sqlite_with_rowid=False,
    )
