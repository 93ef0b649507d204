"""Alembic's entry: servicekit's open_database passes the connection."""

from servicekit.database import run_migrations
from services.quota import tables

run_migrations(tables.Base.metadata)
