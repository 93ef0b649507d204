"""Where the platform is and who may use it, as the runner tells every client by the environment.

Imported by checks that run in environments with nothing of the project in them, so it needs the standard library only.
"""

from __future__ import annotations

import os

BASE_URL = os.environ["CONFORMANCE_BASE_URL"]
KEY = os.environ["CONFORMANCE_KEY"]  # credits and requests enough for every check
KEY_WITHOUT_CREDITS = os.environ["CONFORMANCE_KEY_WITHOUT_CREDITS"]
KEY_OF_ONE_MODEL = os.environ["CONFORMANCE_KEY_OF_ONE_MODEL"]  # gpt-4o only
KEY_OF_ONE_REQUEST = os.environ["CONFORMANCE_KEY_OF_ONE_REQUEST"]  # one a minute
WRONG_KEY = "mghp_" + "a" * 36

HELLO = [{"role": "user", "content": "Hello!"}]
LISBON = [{"role": "user", "content": "Weather in Lisbon?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
NAMED_WEATHER = {"type": "function", "function": {"name": "get_weather"}}
