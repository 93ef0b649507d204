"""The books in SQLite, one process a file."""
