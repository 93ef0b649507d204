"""Auth's tables in SQLite or PostgreSQL: one class for each of the domain's store protocols."""
