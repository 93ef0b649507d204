"""Mutual TLS between the services."""
