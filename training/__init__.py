"""How the default model is made: data, tokenizer, training, export. Never installed with the services."""
