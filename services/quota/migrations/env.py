"""Alembic's entry: servicekit/database/schema.py passes the connection."""

from servicekit.database.schema import run_migrations
from services.quota import tables

run_migrations(tables.Base.metadata)
