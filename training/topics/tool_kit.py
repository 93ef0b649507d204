"""Any tool: a known one, or one that was made up for the occasion and follows a pattern."""

from __future__ import annotations

import random

from training.topics import words
from training.topics.known_tools import KNOWN
from training.topics.script import entries
from training.topics.tool import Argument, Maker, Tool, text, whole

_ENTITIES: tuple[Argument, ...] = (
    text("name", words.full_name),
    text("customer", words.full_name),
    text("user", words.person),
    text("city", words.place),
    text("country", words.invented),
    text("product", words.thing),
    text("company", words.company),
    text("order_id", words.code),
    text("id", words.code),
    text("title", words.invented),
    text("item", words.thing),
    text("email", words.email),
    whole("number"),
    whole("user_id"),
    whole("invoice", lambda r: r.randint(100, 99999)),
)
_NOUNS: dict[str, Maker] = {
    "price": words.money, "status": lambda r: r.choice(["open", "closed", "paid", "shipped", "late", "new", "active"]),
    "balance": words.money, "address": lambda r: f"{words.invented(r)} {r.randint(1, 99)}", "stock": words.whole,
    "phone_number": words.phone, "rating": lambda r: r.randint(1, 5), "menu": words.thing, "manager": words.full_name,
    "deadline": words.day, "owner": words.full_name, "opening_hours": lambda r: f"{words.clock(r)}-{words.clock(r)}",
    "age": lambda r: r.randint(1, 99), "birthday": words.day, "score": words.whole, "size": words.whole,
    "invoice": words.code, "location": words.place, "schedule": words.clock, "history": words.day, "email": words.email,
    "salary": words.whole, "weight": words.whole, "distance": words.whole, "author": words.full_name,
    "capital": words.place, "mayor": words.full_name, "discount": lambda r: r.randint(1, 90), "tax": words.money,
    "speed": words.whole, "color": lambda r: r.choice(["red", "blue", "green", "black", "white"]),
    "plan": words.invented,
    "delivery_date": words.day, "team": words.invented, "department": words.invented, "version": words.whole,
}  # fmt: skip
_ACTIONS: dict[str, tuple[str, ...]] = {
    "delete": ("Delete {}.", "Remove {}.", "Please delete {}"),
    "cancel": ("Cancel {}.", "Please cancel {}", "I want to cancel {}."),
    "open": ("Open {}.", "Please open {}", "Show {}"),
    "update": ("Update {}.", "Please update {}"),
    "create": ("Create {}.", "Make {}.", "Add {}"),
    "archive": ("Archive {}.", "Move {} to the archive."),
    "approve": ("Approve {}.", "I approve {}"),
    "block": ("Block {}.", "Please block {}"),
    "call": ("Call {}.", "Phone {}"),
    "track": ("Track {}.", "Where is {}?"),
    "print": ("Print {}.", "Please print {}"),
    "invite": ("Invite {}.", "Send an invitation to {}"),
}
_OBJECTS = entries("objects")


def _getter(rng: random.Random) -> Tool:
    noun, entity = rng.choice(list(_NOUNS)), rng.choice(_ENTITIES)
    said, hole = noun.replace("_", " "), "{" + entity.name + "}"
    of = f"{entity.name.replace('_', ' ')} {hole}" if rng.random() < 0.3 else hole
    prefix = rng.choice(["get_", "get_", "lookup_", "find_", "fetch_", "read_", "", "check_", "show_"])
    return Tool(
        (prefix + noun,),
        rng.choice([f"The {said} of a {entity.name}", f"Get the {said}", f"Look up the {said} of a {entity.name}"]),
        (entity,),
        (
            f"What is the {said} of {of}?", f"{said} of {of}?", f"Show me the {said} of {of}.",
            f"Tell me the {said} for {of}", f"I need the {said} of {of}.", f"Get the {said} for {of}.",
            f"Can you check the {said} of {of}?", f"Find the {said} of {of}", f"Do you know the {said} of {of}?",
        ),
        ((noun, _NOUNS[noun]),),
    )  # fmt: skip


def _doer(rng: random.Random) -> Tool:
    verb, noun, entity = rng.choice(list(_ACTIONS)), rng.choice(_OBJECTS), rng.choice(_ENTITIES)
    hole = "{" + entity.name + "}"
    named = rng.choice([f"the {noun} {hole}", f"{noun} {hole}", f"the {noun} of {hole}", f"the {noun} with {hole}"])
    return Tool(
        (rng.choice([f"{verb}_{noun}", f"{verb}{noun.capitalize()}"]),),
        f"{verb.capitalize()} a {noun}",
        (entity,),
        tuple(question.format(named) for question in _ACTIONS[verb]),
        (("status", lambda r: r.choice(["done", "ok", "failed", "pending"])),),
    )


def any_tool(rng: random.Random) -> Tool:
    """A known tool, or one that was made up for the occasion."""
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(KNOWN)
    return _getter(rng) if kind < 0.8 else _doer(rng)
