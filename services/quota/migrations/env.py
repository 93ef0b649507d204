"""Alembic's entry: servicekit/schema.py passes the connection."""

from servicekit.schema import run_migrations
from services.quota import tables

run_migrations(tables.Base.metadata)
