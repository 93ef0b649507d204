"""The accounts of one client, made before it runs, and the environment that tells it of them."""

from __future__ import annotations

import os

from tests.worlds.processes import Platform

PLENTY = 100_000_000  # credits
UNLIMITED = 100_000  # requests a minute
# What would change how a client finds the platform, or let it talk to anything else.
FOREIGN = ("OPENAI_", "LANGCHAIN_", "LANGSMITH_", "MUHGPT_")


def surroundings(platform: Platform) -> dict[str, str]:
    """The environment of a client's process; accounts of its own, since some checks use up a rate limit."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **kept,
        "CONFORMANCE_BASE_URL": platform.base_url,
        "CONFORMANCE_KEY": platform.account(credits=PLENTY, per_minute=UNLIMITED).key,
        "CONFORMANCE_KEY_WITHOUT_CREDITS": platform.account(credits=0).key,
        "CONFORMANCE_KEY_OF_ONE_MODEL": platform.account(allowed_models=["gpt-4o"]).key,
        "CONFORMANCE_KEY_OF_ONE_REQUEST": platform.account(per_minute=1).key,
    }
