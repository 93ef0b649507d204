"""What becomes of a fetched GGUF: a look into the file, and an entry in the operator's model list."""
