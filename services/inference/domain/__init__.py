"""Inference's own words: chat requests, engines and the life of a generation. Knows no transport."""
