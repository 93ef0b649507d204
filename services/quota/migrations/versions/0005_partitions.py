"""PostgreSQL: charges in a partition for each month of their ids.

The table that was there becomes the first partition, as it is: nothing is copied. Its rows are checked against its
bound while others read and write. Then all of it is locked for some milliseconds, whatever its size, and gets its new
name and parent. Statements of the version before find the parent under the old name and go on. Ids stay unique over all
partitions, since the partition follows from the id; the numbers of admissions are unique within each.
"""

from itertools import pairwise

import sqlalchemy as sa
from alembic import op

from servicekit.database.schema import lock_table

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BOUND = """
SELECT conname, substring(pg_get_constraintdef(oid) FROM '\\\\x([0-9a-f]+)') FROM pg_constraint
WHERE conrelid = 'charges'::regclass AND conname LIKE 'charges\\_before\\_%'
"""
MONTHS = """
SELECT to_char(first, 'YYYYMM'), lpad(to_hex((extract(epoch FROM first) * 1000)::bigint), 12, '0')
FROM (
    SELECT date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + number * interval '1 month' AS first
    FROM generate_series(0, 4) AS number
) months ORDER BY 1
"""
INDEXES = (
    "CREATE UNIQUE INDEX {name}_by_seq ON {name} (account_id, seq)",
    "CREATE UNIQUE INDEX {name}_by_key_seq ON {name} (key_id, key_seq) WHERE key_seq IS NOT NULL",
    "CREATE INDEX {name}_open ON {name} (session_id) WHERE state = 1",
)
# As in 0001, but it looks only where the last minute's admissions can be: an id is at most a day off its admission.
FIRST_ADMISSION = """
CREATE OR REPLACE FUNCTION {name}(owner text, low bigint, high bigint, since bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    middle bigint;
    instant bigint;
    lowest bytea := decode(lpad(to_hex(greatest(since / 1000 - 172800000, 0)), 12, '0'), 'hex');
    highest bytea := decode(lpad(to_hex(since / 1000 + 172860000), 12, '0'), 'hex');
BEGIN
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT reserved_us INTO instant FROM charges
        WHERE {owner} = owner AND {number} = middle AND hold_id >= lowest AND hold_id < highest;
        IF instant > since THEN
            high := middle;
        ELSE
            low := middle + 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    promise, bound = connection.execute(sa.text(BOUND)).one()
    _leaf("charges_default", like="charges")
    op.execute(f"ALTER TABLE charges_default DROP CONSTRAINT {promise}")
    op.execute(
        f"WITH moved AS (DELETE FROM charges WHERE hold_id >= '\\x{bound}' RETURNING *)"
        " INSERT INTO charges_default SELECT * FROM moved"
    )
    op.execute(f"ALTER TABLE charges VALIDATE CONSTRAINT {promise}")
    lock_table(connection, "charges")
    _swap(promise, bound)
    months = [tuple(row) for row in connection.execute(sa.text(MONTHS))]
    if connection.execute(sa.text(f"SELECT NOT EXISTS (SELECT FROM {promise})")).scalar_one():
        op.drop_table(promise)  # a new database
    else:
        months = [each for each in months if each[1] >= bound]
    for (month, first), (_, end) in pairwise(months):
        _leaf(f"charges_{month}", like="charges")
        op.execute(
            f"ALTER TABLE charges ATTACH PARTITION charges_{month} FOR VALUES FROM ('\\x{first}') TO ('\\x{end}')"
        )
    op.execute(FIRST_ADMISSION.format(name="first_admission", owner="account_id", number="seq"))
    op.execute(FIRST_ADMISSION.format(name="first_key_admission", owner="key_id", number="key_seq"))


def _leaf(name: str, *, like: str) -> None:
    op.execute(f"CREATE TABLE {name} (LIKE {like} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    op.execute(f"ALTER TABLE {name} ADD PRIMARY KEY (hold_id)")
    for index in INDEXES:
        op.execute(index.format(name=name))


def _swap(old: str, bound: str) -> None:
    """The table becomes the partition `old` of a new one by its name."""
    op.execute(f"ALTER TABLE charges RENAME TO {old}")
    op.execute(f"ALTER INDEX charges_pkey RENAME TO {old}_pkey")
    for name in ("by_seq", "by_key_seq", "open"):
        op.execute(f"ALTER INDEX charges_{name} RENAME TO {old}_{name}")
    op.execute(
        f"CREATE TABLE charges (LIKE {old} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (hold_id)"
    )
    op.execute(f"ALTER TABLE charges DROP CONSTRAINT {old}")
    op.execute("ALTER TABLE charges ADD PRIMARY KEY (hold_id)")
    op.execute(f"ALTER TABLE charges ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('\\x{bound}')")
    op.execute("ALTER TABLE charges ATTACH PARTITION charges_default DEFAULT")
