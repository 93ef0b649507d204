"""Where the books live: one protocol, SQLite and PostgreSQL behind it."""
