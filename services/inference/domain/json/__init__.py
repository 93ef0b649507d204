"""JSON Schemas and JSON text: what a grammar can hold an answer to, and what clients send."""
