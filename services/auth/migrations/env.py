from servicekit.database.schema import run_migrations
from services.auth.tables import Table

run_migrations(Table.metadata)
