"""The edge's routes: the hot one in plain ASGI, the others in FastAPI."""
