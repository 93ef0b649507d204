"""Accounts, keys, and the promise that a revoked key is served nowhere. Knows neither gRPC nor a database."""
