"""The tools that conversations are about: known ones with their own questions, and made-up ones of a pattern."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from training.topics import words
from training.topics.script import entries

Value = str | int | float
Maker = Callable[[random.Random], Value]
ENUMS: dict[str, list[str]] = {
    "unit": ["celsius", "fahrenheit"],
    "class": ["economy", "business", "first"],
    "priority": ["low", "normal", "high"],
    "language": ["English", "German", "French", "Spanish", "Portuguese", "Italian"],
    "currency": ["EUR", "USD", "GBP", "JPY", "CHF"],
    "size": ["small", "medium", "large"],
    "room": ["kitchen", "bedroom", "bathroom", "office", "garage"],
}


@dataclass(frozen=True)
class Argument:
    """One argument: its name, JSON type, and how its values are made. `choices`: the schema lists them."""

    name: str
    type: str
    make: Maker
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool with ways to ask for it; `{argument}` stands for a value. What some question leaves out is optional."""

    names: tuple[str, ...]
    description: str
    arguments: tuple[Argument, ...]
    questions: tuple[str, ...]
    results: tuple[tuple[str, Maker], ...] = field(default=())


def _text(name: str, make: Maker) -> Argument:
    return Argument(name, "string", make)


def _enum(name: str, kind: str = "") -> Argument:
    values = ENUMS[kind or name]
    return Argument(name, "string", lambda r: r.choice(values), tuple(values))


def _whole(name: str, make: Maker = words.whole) -> Argument:
    return Argument(name, "integer", make)


def _few(rng: random.Random) -> int:
    return rng.randint(1, 12)


_SKIES = ["sunny", "cloudy", "rainy", "windy", "foggy", "clear", "snowy", "stormy"]


def _degrees(rng: random.Random) -> int:
    return rng.randint(-15, 40)


def _sky(rng: random.Random) -> str:
    return rng.choice(_SKIES)


KNOWN = (
    Tool(
        ("get_weather", "weather", "getWeather", "current_weather", "fetch_weather"),
        "Get the weather in a city",
        (_text("city", words.place),),
        (
            "Weather in {city}?", "What is the weather in {city}?", "How is the weather in {city}?", "weather {city}",
            "Is it raining in {city}?", "What's the weather like in {city}?", "Tell me the weather in {city}.",
            "Will I need a coat in {city}?", "Is it cold in {city} today?", "weather in {city} please",
            "How warm is it in {city}?", "What's the temperature in {city}?",
            "I am going to {city}. How is the weather?",
        ),
        (("temperature", _degrees), ("sky", _sky)),
    ),
    Tool(
        ("get_weather", "get_current_weather", "weather_forecast", "get_forecast"),
        "Weather of a place",
        (_text("location", words.place), _enum("unit")),
        (
            "Weather in {location}?", "What's the weather in {location} in {unit}?", "Weather in {location} in {unit}",
            "How warm is it in {location}, in {unit}?", "Temperature in {location}?",
        ),
        (("temperature", _degrees), ("conditions", _sky)),
    ),
    Tool(
        ("get_weather", "forecast", "get_forecast"),
        "Weather in a city on a day",
        (_text("city", words.place), _text("date", words.day)),
        (
            "Weather in {city} on {date}?", "How will the weather be in {city} on {date}?", "Weather in {city}?",
            "Forecast for {city} on {date}", "What will the weather be like on {date} in {city}?",
        ),
        (("high", _degrees), ("low", _degrees), ("sky", _sky)),
    ),
    Tool(
        ("get_time", "current_time", "local_time", "getTime"),
        "Get the local time in a city",
        (_text("city", words.place),),
        (
            "What time is it in {city}?", "Time in {city}?", "Tell me the time in {city}.",
            "What is the local time in {city}?", "How late is it in {city}?", "time {city}",
        ),
        (("time", words.clock),),
    ),
    Tool(
        ("search", "web_search", "search_web", "find"),
        "Search the web",
        (_text("query", words.phrase),),
        (
            "Search for {query}.", "Look up {query}.", "Search the web for {query}", "Google {query}",
            "Find something about {query}.", "Search for {query} please", "Can you search for {query}?",
        ),
    ),
    Tool(
        ("search_flights", "find_flights", "flights"),
        "Find flights between two cities",
        (_text("origin", words.place), _text("destination", words.place), _text("date", words.day), _enum("class")),
        (
            "Flights from {origin} to {destination}?", "Find a flight from {origin} to {destination} on {date}.",
            "I want to fly from {origin} to {destination} on {date}.",
            "Flights to {destination} from {origin} on {date}",
            "Find {class} flights from {origin} to {destination}.",
            "Fly from {origin} to {destination} in {class} on {date}",
        ),
        (("flight", words.code), ("departure", words.clock), ("price", words.whole)),
    ),
    Tool(
        ("send_message", "message", "send_text", "sendMessage"),
        "Send a message to a person",
        (_text("to", words.person), _text("text", words.phrase)),
        (
            "Send {to} the message {text}.", "Text {to}: {text}", "Message {to}: {text}", "Tell {to} this: {text}",
            "Write to {to}: {text}",
        ),
        (("status", lambda r: r.choice(["sent", "delivered", "queued"])),),
    ),
    Tool(
        ("send_email", "email", "sendEmail"),
        "Send an email",
        (_text("to", words.email), _text("subject", words.phrase)),
        (
            "Email {to} about {subject}.", "Send an email to {to} with the subject {subject}.",
            "Write an email to {to} about {subject}", "Mail {to}: {subject}",
        ),
        (("status", lambda r: r.choice(["sent", "queued"])),),
    ),
    Tool(
        ("create_event", "add_event", "schedule_meeting", "add_to_calendar"),
        "Put an event into the calendar",
        (_text("title", words.phrase), _text("date", words.day), _text("time", words.clock)),
        (
            "Add {title} on {date} at {time}.", "Put {title} in my calendar on {date} at {time}.",
            "Schedule {title} for {date} at {time}.", "Create an event {title} on {date}.", "Plan {title} on {date}",
        ),
        (("status", lambda r: r.choice(["created", "saved"])), ("id", words.whole)),
    ),
    Tool(
        ("set_timer", "start_timer", "timer"),
        "Start a timer",
        (_whole("minutes", lambda r: r.randint(1, 90)),),
        (
            "Set a timer for {minutes} minutes.", "Timer {minutes} minutes", "Start a {minutes} minute timer.",
            "Wake me in {minutes} minutes.", "Remind me in {minutes} minutes",
        ),
        (("ends_at", words.clock),),
    ),
    Tool(
        ("convert_currency", "convert", "exchange"),
        "Convert money",
        (_whole("amount"), _enum("from", "currency"), _enum("to", "currency")),
        (
            "Convert {amount} {from} to {to}.", "How much is {amount} {from} in {to}?", "{amount} {from} in {to}",
            "What are {amount} {from} in {to}?", "Change {amount} {from} into {to}",
        ),
        (("result", words.money),),
    ),
    Tool(
        ("translate", "translate_text"),
        "Translate a text",
        (_text("text", words.phrase), _enum("language")),
        (
            "Translate {text} into {language}.", "What is {text} in {language}?",
            "How do you say {text} in {language}?",
            "Translate to {language}: {text}",
        ),
        (("translation", words.lower_word),),
    ),
    Tool(
        ("order", "add_to_cart", "buy", "order_product"),
        "Order a product",
        (_text("product", words.thing), _whole("quantity", _few)),
        (
            "Order {quantity} of {product}.", "Buy {quantity} {product}", "I want to order {quantity} {product}.",
            "Add {quantity} {product} to my cart.", "Order {product} please.", "Buy a {product}.",
        ),
        (("order_id", words.code), ("total", words.money)),
    ),
    Tool(
        ("play_music", "play", "play_song"),
        "Play music",
        (_text("artist", words.full_name),),
        ("Play something by {artist}.", "Play {artist}", "I want to hear {artist}.", "Put on music by {artist}."),
        (("song", words.invented),),
    ),
    Tool(
        ("turn_on_light", "light_on", "lights"),
        "Switch on the light in a room",
        (_enum("room"),),
        ("Turn on the light in the {room}.", "Lights on in the {room}", "Switch the {room} light on.", "light {room}"),
        (("state", lambda r: "on"),),
    ),
    Tool(
        ("book_table", "reserve_table", "book_restaurant"),
        "Reserve a table in a restaurant",
        (_text("restaurant", words.invented), _whole("people", _few), _text("time", words.clock)),
        (
            "Book a table at {restaurant} for {people} at {time}.", "Table for {people} at {restaurant} at {time}",
            "Reserve a table for {people} people at {restaurant}.", "I need a table at {restaurant} for {people}",
        ),
        (("confirmation", words.code),),
    ),
    Tool(
        ("get_population", "population"),
        "Number of people in a city",
        (_text("city", words.place),),
        ("How many people live in {city}?", "Population of {city}?", "How big is {city}?"),
        (("population", lambda r: r.randint(1, 9999) * 1000),),
    ),
    Tool(
        ("get_stock_price", "stock_price", "get_quote"),
        "Price of a share",
        (_text("company", words.company),),
        ("Stock price of {company}?", "What is a share of {company} worth?", "How is {company} trading?"),
        (("price", words.money), ("currency", lambda r: r.choice(ENUMS["currency"]))),
    ),
)  # fmt: skip

_ENTITIES: tuple[Argument, ...] = (
    _text("name", words.full_name),
    _text("customer", words.full_name),
    _text("user", words.person),
    _text("city", words.place),
    _text("country", words.invented),
    _text("product", words.thing),
    _text("company", words.company),
    _text("order_id", words.code),
    _text("id", words.code),
    _text("title", words.invented),
    _text("item", words.thing),
    _text("email", words.email),
    _whole("number"),
    _whole("user_id"),
    _whole("invoice", lambda r: r.randint(100, 99999)),
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


def schema(rng: random.Random, tool: Tool, name: str, needed: set[str]) -> dict[str, Any]:
    """The tool as a client sends it, with or without the optional parts. `needed`: arguments that must be required."""
    properties: dict[str, Any] = {}
    for argument in tool.arguments:
        properties[argument.name] = {"type": argument.type}
        if argument.choices:
            properties[argument.name]["enum"] = list(argument.choices)
    required = [a.name for a in tool.arguments if a.name in needed]
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.6:
        function["description"] = tool.description
    function["parameters"] = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": function}
