"""GET /healthz and GET /readyz."""
