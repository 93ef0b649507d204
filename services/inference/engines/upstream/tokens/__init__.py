"""Counting the tokens of upstreams here: prompts before they are sent, and answers while they run."""
