"""The books as they begin."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The lowest number among low..high that was admitted after `since`, by halving. `high` itself was; numbers and instants
# rise together.
FIRST_ADMISSION = """
CREATE FUNCTION {name}(owner text, low bigint, high bigint, since bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    middle bigint;
    instant bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT reserved_us INTO instant FROM charges WHERE {owner} = owner AND {number} = middle;
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
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_admitted_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("held >= 0 AND balance >= held", name="never_negative"),
        sa.CheckConstraint("last_seq >= 0", name="seq_counts_up"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "charges",
        sa.Column("hold_id", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("key_seq", sa.BigInteger(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("input_price", sa.BigInteger(), nullable=False),
        sa.Column("output_price", sa.BigInteger(), nullable=False),
        sa.Column("choices", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("requested_tokens", sa.BigInteger(), nullable=False),
        sa.Column("max_tokens", sa.BigInteger(), nullable=False),
        sa.Column("covered_tokens", sa.BigInteger(), nullable=False),
        sa.Column("delivered_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("uncollected", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("reserved_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(state = 1) = (ended_us IS NULL)", name="ended_once"),
        sa.CheckConstraint("held >= 0 AND credits >= 0 AND uncollected >= 0", name="charge_never_negative"),
        sa.CheckConstraint("state = 1 OR held = 0", name="ended_holds_nothing"),
        sa.PrimaryKeyConstraint("hold_id"),
    )
    op.create_index(
        "charges_by_key_seq",
        "charges",
        ["key_id", "key_seq"],
        unique=True,
        sqlite_where=sa.text("key_seq IS NOT NULL"),
        postgresql_where=sa.text("key_seq IS NOT NULL"),
    )
    op.create_index("charges_by_seq", "charges", ["account_id", "seq"], unique=True)
    op.create_index(
        "charges_open",
        "charges",
        ["session_id"],
        unique=False,
        sqlite_where=sa.text("state = 1"),
        postgresql_where=sa.text("state = 1"),
    )
    op.create_table(
        "key_months",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("ceiling", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("ceiling IS NULL OR spent + held <= ceiling", name="ceiling_kept"),
        sa.CheckConstraint("spent >= 0 AND held >= 0", name="month_never_negative"),
        sa.PrimaryKeyConstraint("key_id", "month"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("monthly_credit_limit", sa.BigInteger(), nullable=True),
        sa.Column("requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_admitted_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "booked_once",
        "ledger",
        ["kind", "reference"],
        unique=True,
        sqlite_where=sa.text("kind <> 3"),
        postgresql_where=sa.text("kind <> 3"),
    )
    op.create_index("ledger_by_account", "ledger", ["account_id", "id"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("edge_name", sa.Text(), nullable=False),
        sa.Column("lease_until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usage_daily",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "day", "model"),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(FIRST_ADMISSION.format(name="first_admission", owner="account_id", number="seq"))
        op.execute(FIRST_ADMISSION.format(name="first_key_admission", owner="key_id", number="key_seq"))
