"""PostgreSQL: the charges there are promise to be older than the month after next, so that they can become a partition.

The promise holds for new rows at once, which takes a lock for a moment; the rows that are there are looked at in 0005,
while others write. No request makes such an id in the next weeks: it begins with the time.
"""

import sqlalchemy as sa
from alembic import op

from servicekit.database.schema import lock_table
from servicekit.errors import StartupError

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The first month that is not the old table's, and the lowest id of a hold made in it: its milliseconds, 6 bytes.
BOUND = """
SELECT to_char(first, 'YYYYMM'), lpad(to_hex((extract(epoch FROM first) * 1000)::bigint), 12, '0')
FROM (SELECT date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + interval '2 months' AS first) months
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    month, bound = connection.execute(sa.text(BOUND)).one()
    open_beyond = f"SELECT count(*) FROM charges WHERE hold_id >= '\\x{bound}' AND state = 1"
    if count := connection.execute(sa.text(open_beyond)).scalar_one():
        raise StartupError(f"{count} open holds have ids from {month} or later: set the edges' clocks, then try again")
    lock_table(connection, "charges")
    op.execute(f"ALTER TABLE charges ADD CONSTRAINT charges_before_{month} CHECK (hold_id < '\\x{bound}') NOT VALID")
