"""All attacks, by kind."""

from tests.hostile.attack import Attack
from tests.hostile.attacks import bodies, connections, engine, keys, messages, pictures

ATTACKS: tuple[Attack, ...] = (
    *bodies.ATTACKS,
    *engine.ATTACKS,
    *pictures.ATTACKS,
    *connections.ATTACKS,
    *messages.ATTACKS,
    *keys.ATTACKS,
)
