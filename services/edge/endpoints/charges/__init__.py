"""GET /v1/usage/charges."""
