"""Accounts, keys, changes and edge sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_accounts()
    _create_keys()
    _create_changes()
    _create_sessions()


def downgrade() -> None:
    for table in ("edge_sessions", "key_changes", "key_sequence", "api_keys", "accounts"):
        op.drop_table(table)


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String(), primary_key=True),
        sa.Column("email", sa.String(), nullable=False, unique=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("requests_per_minute", sa.Integer()),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
    )
    op.create_index("accounts_by_creation", "accounts", ["created_us", "account_id"])


def _create_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(), primary_key=True),
        sa.Column("account_id", sa.String(), sa.ForeignKey("accounts.account_id"), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("last_four", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("monthly_credit_limit", sa.BigInteger()),
        sa.Column("allowed_models", sa.JSON(), nullable=False),
        sa.Column("requests_per_minute", sa.Integer()),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger()),
        sa.Column("revoked_us", sa.BigInteger()),
    )
    op.create_index("api_keys_by_creation", "api_keys", ["created_us", "key_id"])
    op.create_index("api_keys_of_account", "api_keys", ["account_id", "created_us", "key_id"])


def _create_changes() -> None:
    op.create_table(
        "key_sequence",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.execute("INSERT INTO key_sequence (id, last) VALUES (1, 0)")
    op.create_table(
        "key_changes",
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
    )


def _create_sessions() -> None:
    op.create_table(
        "edge_sessions",
        sa.Column("session_id", sa.String(), primary_key=True),
        sa.Column("edge_name", sa.String(), nullable=False),
        sa.Column("last_seen_us", sa.BigInteger(), nullable=False),
        sa.Column("acked_sequence", sa.BigInteger(), nullable=False),
        sa.Column("lapsed", sa.Boolean(), nullable=False),
    )
