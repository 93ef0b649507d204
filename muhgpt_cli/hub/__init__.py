"""The Hugging Face hub, as far as fetching a GGUF file needs it (why no library: docs/decisions/0008)."""
