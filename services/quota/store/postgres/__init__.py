"""The books in PostgreSQL, which several replicas share."""
