"""Questions about this API and their answers."""

from __future__ import annotations

import random

from training.topics.message import Exchange, pair
from training.topics.script import dialogues

FACTS = dialogues("product")


def product(rng: random.Random) -> Exchange:
    """One question about the API."""
    return pair(rng, rng.choice(FACTS))
