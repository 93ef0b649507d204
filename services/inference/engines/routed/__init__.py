"""A model behind several targets: who gets a request, and what happens when a target fails."""
