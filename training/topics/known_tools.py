"""Tools as programmers offer them, each with many ways to ask for it."""

from __future__ import annotations

import random

from training.topics import words
from training.topics.tool import ENUMS, Tool, chosen, text, whole


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
        (text("city", words.place),),
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
        (text("location", words.place), chosen("unit")),
        (
            "Weather in {location}?", "What's the weather in {location} in {unit}?", "Weather in {location} in {unit}",
            "How warm is it in {location}, in {unit}?", "Temperature in {location}?",
        ),
        (("temperature", _degrees), ("conditions", _sky)),
    ),
    Tool(
        ("get_weather", "forecast", "get_forecast"),
        "Weather in a city on a day",
        (text("city", words.place), text("date", words.day)),
        (
            "Weather in {city} on {date}?", "How will the weather be in {city} on {date}?", "Weather in {city}?",
            "Forecast for {city} on {date}", "What will the weather be like on {date} in {city}?",
        ),
        (("high", _degrees), ("low", _degrees), ("sky", _sky)),
    ),
    Tool(
        ("get_time", "current_time", "local_time", "getTime"),
        "Get the local time in a city",
        (text("city", words.place),),
        (
            "What time is it in {city}?", "Time in {city}?", "Tell me the time in {city}.",
            "What is the local time in {city}?", "How late is it in {city}?", "time {city}",
        ),
        (("time", words.clock),),
    ),
    Tool(
        ("search", "web_search", "search_web", "find"),
        "Search the web",
        (text("query", words.phrase),),
        (
            "Search for {query}.", "Look up {query}.", "Search the web for {query}", "Google {query}",
            "Find something about {query}.", "Search for {query} please", "Can you search for {query}?",
        ),
    ),
    Tool(
        ("search_flights", "find_flights", "flights"),
        "Find flights between two cities",
        (text("origin", words.place), text("destination", words.place), text("date", words.day), chosen("class")),
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
        (text("to", words.person), text("text", words.phrase)),
        (
            "Send {to} the message {text}.", "Text {to}: {text}", "Message {to}: {text}", "Tell {to} this: {text}",
            "Write to {to}: {text}",
        ),
        (("status", lambda r: r.choice(["sent", "delivered", "queued"])),),
    ),
    Tool(
        ("send_email", "email", "sendEmail"),
        "Send an email",
        (text("to", words.email), text("subject", words.phrase)),
        (
            "Email {to} about {subject}.", "Send an email to {to} with the subject {subject}.",
            "Write an email to {to} about {subject}", "Mail {to}: {subject}",
        ),
        (("status", lambda r: r.choice(["sent", "queued"])),),
    ),
    Tool(
        ("create_event", "add_event", "schedule_meeting", "add_to_calendar"),
        "Put an event into the calendar",
        (text("title", words.phrase), text("date", words.day), text("time", words.clock)),
        (
            "Add {title} on {date} at {time}.", "Put {title} in my calendar on {date} at {time}.",
            "Schedule {title} for {date} at {time}.", "Create an event {title} on {date}.", "Plan {title} on {date}",
        ),
        (("status", lambda r: r.choice(["created", "saved"])), ("id", words.whole)),
    ),
    Tool(
        ("set_timer", "start_timer", "timer"),
        "Start a timer",
        (whole("minutes", lambda r: r.randint(1, 90)),),
        (
            "Set a timer for {minutes} minutes.", "Timer {minutes} minutes", "Start a {minutes} minute timer.",
            "Wake me in {minutes} minutes.", "Remind me in {minutes} minutes",
        ),
        (("ends_at", words.clock),),
    ),
    Tool(
        ("convert_currency", "convert", "exchange"),
        "Convert money",
        (whole("amount"), chosen("from", "currency"), chosen("to", "currency")),
        (
            "Convert {amount} {from} to {to}.", "How much is {amount} {from} in {to}?", "{amount} {from} in {to}",
            "What are {amount} {from} in {to}?", "Change {amount} {from} into {to}",
        ),
        (("result", words.money),),
    ),
    Tool(
        ("translate", "translate_text"),
        "Translate a text",
        (text("text", words.phrase), chosen("language")),
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
        (text("product", words.thing), whole("quantity", _few)),
        (
            "Order {quantity} of {product}.", "Buy {quantity} {product}", "I want to order {quantity} {product}.",
            "Add {quantity} {product} to my cart.", "Order {product} please.", "Buy a {product}.",
        ),
        (("order_id", words.code), ("total", words.money)),
    ),
    Tool(
        ("play_music", "play", "play_song"),
        "Play music",
        (text("artist", words.full_name),),
        ("Play something by {artist}.", "Play {artist}", "I want to hear {artist}.", "Put on music by {artist}."),
        (("song", words.invented),),
    ),
    Tool(
        ("turn_on_light", "light_on", "lights"),
        "Switch on the light in a room",
        (chosen("room"),),
        ("Turn on the light in the {room}.", "Lights on in the {room}", "Switch the {room} light on.", "light {room}"),
        (("state", lambda r: "on"),),
    ),
    Tool(
        ("book_table", "reserve_table", "book_restaurant"),
        "Reserve a table in a restaurant",
        (text("restaurant", words.invented), whole("people", _few), text("time", words.clock)),
        (
            "Book a table at {restaurant} for {people} at {time}.", "Table for {people} at {restaurant} at {time}",
            "Reserve a table for {people} people at {restaurant}.", "I need a table at {restaurant} for {people}",
        ),
        (("confirmation", words.code),),
    ),
    Tool(
        ("get_population", "population"),
        "Number of people in a city",
        (text("city", words.place),),
        ("How many people live in {city}?", "Population of {city}?", "How big is {city}?"),
        (("population", lambda r: r.randint(1, 9999) * 1000),),
    ),
    Tool(
        ("get_stock_price", "stock_price", "get_quote"),
        "Price of a share",
        (text("company", words.company),),
        ("Stock price of {company}?", "What is a share of {company} worth?", "How is {company} trading?"),
        (("price", words.money), ("currency", lambda r: r.choice(ENUMS["currency"]))),
    ),
)  # fmt: skip
