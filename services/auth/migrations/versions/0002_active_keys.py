"""An index over the keys that are not revoked: making a key counts these, and not all that an account ever had."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDEX = "api_keys_not_revoked"


def upgrade() -> None:
    unrevoked = sa.text("revoked_us IS NULL")
    op.create_index(
        INDEX, "api_keys", ["account_id"], postgresql_where=unrevoked, sqlite_where=unrevoked, if_not_exists=True
    )


def downgrade() -> None:
    op.drop_index(INDEX, "api_keys")
