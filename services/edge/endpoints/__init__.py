"""One folder an endpoint; the hot one in plain ASGI, the others in FastAPI."""
