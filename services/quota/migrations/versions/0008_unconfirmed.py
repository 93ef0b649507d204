"""PostgreSQL: unconfirmed charges are found by their session, in each partition, built while others write.

Not in a transaction, as building an index beside writers needs. A build that was cut short is begun again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PARTITIONS = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'charges'::regclass ORDER BY 1"
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    names = [row[0] for row in connection.execute(sa.text(PARTITIONS))]
    with op.get_context().autocommit_block():
        for name in names:
            op.execute(f"DROP INDEX IF EXISTS {name}_unconfirmed")
            op.execute(f"CREATE INDEX CONCURRENTLY {name}_unconfirmed ON {name} (session_id) WHERE unconfirmed")
