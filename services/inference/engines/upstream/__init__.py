"""Any OpenAI-compatible server as an engine (docs/upstreams.md)."""
