"""Free text in JSON: a question, and an object whose strings end where their text ends, under keys of every kind.

In the service a grammar forces braces and keys, and the question mostly says nothing of them. So what is to be learned
is what stands in the strings, and above all the quotation mark after it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.topics import prose, words
from training.topics.joke import asked as joke_asked
from training.topics.knowledge import knowledge, unknown
from training.topics.long import story
from training.topics.message import Exchange, Message, assistant, vary
from training.topics.product import product
from training.topics.script import entries
from training.topics.smalltalk import WHO, chat
from training.topics.tool_kit import any_tool
from training.topics.verse import haiku

Fields = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """A question, the object that answers it, and what the object is called."""

    question: str
    answer: Fields
    name: str

    @property
    def schema(self) -> Fields:
        """What a client would send to get such an object."""
        return schema_of(self.answer)


def schema_of(value: Any) -> Fields:
    """The schema that any value of this shape fits; nothing in it bounds a text or a list."""
    if isinstance(value, dict):
        properties = {key: schema_of(of) for key, of in value.items()}
        return {"type": "object", "properties": properties, "required": list(value), "additionalProperties": False}
    if isinstance(value, list):
        return {"type": "array", "items": schema_of(value[0])}
    if value is None:
        return {"anyOf": [{"type": "string"}, {"type": "null"}]}
    kinds: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": kinds[type(value)]}


_KEYS = {kind: names.split() for kind, names in (line.split(": ") for line in entries("form_keys"))}
_ANY_KEYS = entries("keys")
_REQUESTS = entries("requests")


def _key(rng: random.Random, kind: str) -> str:
    """The name of a field for this kind of value; of the rare ones evaluation keeps some for itself."""
    chance = rng.random()
    if chance < 0.35 and kind in _KEYS:
        return rng.choice(_KEYS[kind])
    if chance < 0.8 and f"{kind} rare" in _KEYS:
        return _styled(rng, words.one_of(rng, _KEYS[f"{kind} rare"]))
    if chance < 0.9:
        return _styled(rng, words.one_of(rng, _ANY_KEYS))
    made = "_".join(words.lower_word(rng) for _ in range(rng.choice([1, 1, 2])))
    return _styled(rng, made)


def _styled(rng: random.Random, key: str) -> str:
    style = rng.random()
    if style < 0.12:
        return re.sub(r"_(\w)", lambda match: match[1].upper(), key)
    return key.capitalize() if style < 0.17 else key


def _number(rng: random.Random, x: str | None) -> int | float:
    kind = rng.random()
    if kind < 0.5:
        return rng.randint(0, 10)
    return round(rng.random(), rng.choice([1, 2])) if kind < 0.7 else words.whole(rng)


# Share and maker of each kind of field.
_MAKERS: dict[str, tuple[float, Callable[[random.Random, str | None], Any]]] = {
    "text": (0.4, prose.text),
    "phrase": (0.22, prose.phrase),
    "list": (0.14, prose.items),
    "number": (0.14, _number),
    "flag": (0.1, lambda rng, x: rng.random() < 0.5),
}


def _field(rng: random.Random, x: str | None) -> Fields:
    """One field of any kind."""
    (kind,) = rng.choices(list(_MAKERS), [share for share, _ in _MAKERS.values()])
    if kind in ("text", "phrase") and rng.random() < 0.04:
        return {_key(rng, kind): None}
    return {_key(rng, kind): _MAKERS[kind][1](rng, x)}


def _with_more(rng: random.Random, main: Fields, x: str | None, *, ordered: bool = False) -> Fields:
    """Other fields before, between and after; at times all of it inside of another object."""
    more: Fields = {}
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3])):
        more |= _field(rng, x)
    more = {key: value for key, value in more.items() if key not in main}
    both = [*main.items(), *more.items()]
    if not ordered:
        rng.shuffle(both)
    elif rng.random() < 0.3:
        both = [*more.items(), *main.items()]
    fields = dict(both)
    if rng.random() < 0.05:
        outer = _key(rng, "phrase")
        return {outer: fields} if rng.random() < 0.5 else {outer: fields, **_field(rng, x)}
    return fields


def _brief(rng: random.Random, *makes: Callable[[random.Random], Exchange]) -> tuple[str, str]:
    """One question and a short answer of a subject."""
    while True:
        exchange = rng.choice(makes)(rng)
        question, answer = str(exchange[0]["content"]), str(exchange[-1]["content"])
        if len(exchange) == 2 and len(answer) <= prose.LONGEST:
            return question, answer


def _reply(rng: random.Random) -> Form:
    """What it would have said in plain text, under some name."""
    question, answer = _brief(rng, product, product, product, unknown, unknown, chat, knowledge)
    main = {_key(rng, "text"): answer}
    return Form(question, _with_more(rng, main, None), rng.choice(["answer", "reply", "response", "final_result"]))


def _joke(rng: random.Random) -> Form:
    question, joke = joke_asked(rng)
    setup, punchline = rng.choice([("setup", "punchline")] * 5 + [("question", "answer"), ("first", "second")])
    two = {setup: joke.setup, punchline: joke.punchline}
    kind = rng.random()
    if kind < 0.06:
        question = f"Give me the setup to a joke about {joke.about}, no punchline."
        return Form(question, rng.choice([{setup: joke.setup}, two | {punchline: None}]), "Joke")
    if kind < 0.12:
        _, other = joke_asked(rng)
        question = rng.choice(["Tell me two jokes.", "Two jokes please.", "Give me jokes."])
        return Form(question, {"jokes": [two, {setup: other.setup, punchline: other.punchline}]}, "Jokes")
    if kind < 0.24:
        told = f"{joke.setup} {joke.punchline}"
        return Form(question, _with_more(rng, {rng.choice(["joke", "text", "answer"]): told}, joke.about), "joke")
    answer = two if kind < 0.6 else _with_more(rng, two, joke.about, ordered=True)
    return Form(question, answer, rng.choice(["Joke", "joke", "tell_joke"]))


def _haiku(rng: random.Random) -> Form:
    question, poem = _brief(rng, haiku)
    lines = poem.split("\n")
    kind = rng.random()
    if kind < 0.7:
        main: Fields = {rng.choice(["haiku", "haiku", "poem", "text", "verse", _key(rng, "text")]): poem}
    elif kind < 0.85:
        main = {rng.choice(["lines", "verses", "haiku"]): lines}
    else:
        main = {f"line{n}": line for n, line in enumerate(lines, 1)}
    about = question.rstrip(".?").partition(" about ")[2] or None
    return Form(question, main if rng.random() < 0.5 else _with_more(rng, main, about), rng.choice(["haiku", "poem"]))


def _story(rng: random.Random) -> Form:
    question, told = _brief(rng, story)
    main = {rng.choice(["story", "text", "content", _key(rng, "text")]): told}
    if rng.random() < 0.5:
        main = {"title": prose.phrase(rng, None), **main}
    return Form(question, main, "story")


_SHORTEN = (
    "Summarize this: {}", "Summarize: {}", "{}", "{}\n\nSummarize this text.", "Give me a title and a summary: {}",
    "What is this about? {}", "Sum this up.\n{}", "Find a title for this text: {}", "Shorten this: {}", "Text: {}",
    "Describe this text: {}", "Analyze this text: {}", "Classify this: {}", "tl;dr {}",
)  # fmt: skip


def _summary(rng: random.Random) -> Form:
    """What a given text comes to."""
    note = prose.note(rng)
    made: Fields = {
        rng.choice(["title", "title", "headline", "subject", "name"]): note.title,
        rng.choice(["summary", "summary", "description", "text", "short", "tldr"]): note.summary,
        rng.choice(["tags", "keywords", "topics"]): note.tags,
        rng.choice(["sentiment", "mood", "tone"]): rng.choice(["neutral", "positive", "negative"]),
        rng.choice(["urgent", "is_complaint", "needs_reply"]): rng.random() < 0.5,
    }
    chosen = list(made.items())[:2] if rng.random() < 0.4 else rng.sample(list(made.items()), rng.randint(1, 4))
    return Form(rng.choice(_SHORTEN).format(note.text), dict(chosen), "summary")


_COUNTS = {"two": 2, "three": 3, "four": 4, "2": 2, "3": 3, "some": None, "a few": None, "": None}
_LISTED = (
    "ideas for {}",
    "tips for {}",
    "facts about {}",
    "words about {}",
    "steps to {}",
    "names for {}",
    "tags for {}",
)


def _list(rng: random.Random) -> Form:
    """A list that ends."""
    x = prose.matter(rng)
    said = rng.choice(list(_COUNTS))
    wish = rng.choice(_LISTED)
    lead = rng.choice(["Give me", "List", "I need", "Name", "Write", "Find"])
    key = rng.choice([wish.split()[0], "items", "list", _key(rng, "list")])
    main = {key: prose.items(rng, x, _COUNTS[said])}
    if rng.random() < 0.2:
        name, text = _key(rng, "phrase"), _key(rng, "text")
        each = range(_COUNTS[said] or rng.randint(2, 3))
        main = {key: [{name: prose.phrase(rng, x), text: prose.sentence(rng, x)} for _ in each]}
    answer = main if rng.random() < 0.5 else _with_more(rng, main, x)
    return Form(f"{lead} {said} {wish.format(x)}.".replace("  ", " "), answer, rng.choice(["list", "plan", key]))


def _sum(rng: random.Random) -> Form:
    """A sum with its steps, as a tutor would show them."""
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    question = rng.choice([f"What is {a} + {b}?", f"What is {a} plus {b}?", f"Add {a} and {b}.", f"Solve {a} + {b}."])
    result: Fields = {rng.choice(["result", "answer", "value", "final_answer", "sum"]): rng.choice([a + b, str(a + b)])}
    steps = [f"Take {a}.", f"Add {b}.", f"That makes {a + b}."]
    how = rng.random()
    if how < 0.3:
        result = {rng.choice(["steps", "reasoning"]): steps, **result}
    elif how < 0.5:
        each = [
            {"explanation": step, "output": str(number)} for step, number in zip(steps[:2], (a, a + b), strict=True)
        ]
        result = {"steps": each, **result}
    elif how < 0.8:
        result[rng.choice(["explanation", "reason", "reasoning"])] = f"{a} plus {b} is {a + b}."
    return Form(question, result, "math")


def _profile(rng: random.Random) -> Form:
    """Somebody or something made up."""
    name, count = words.full_name(rng), rng.randint(1, 3)
    of = rng.choice(["person", "character", "user", "hero", "product", "company", "cat"])
    question = rng.choice(["Invent a {}.", "Make up a {}.", "Create a {}.", "Give me a random {}.", "Describe a {}."])
    made: Fields = {
        "name": name,
        "age": rng.randint(1, 99),
        rng.choice(["bio", "description", "backstory"]): f"{name} lives in {words.place(rng)}.",
        rng.choice(["job", "profession", "occupation"]): words.one_of(rng, entries("jobs")),
        rng.choice(["hobbies", "interests", "likes"]): [words.one_of(rng, words.TOPICS) for _ in range(count)],
        rng.choice(["city", "hometown", "location"]): words.place(rng),
        "email": words.email(rng),
    }
    chosen = rng.sample(list(made.items()), rng.randint(1, 5))
    return Form(question.format(of), dict(chosen), of)


def _identity(rng: random.Random) -> Form:
    """What it is, field by field."""
    main: Fields = {
        rng.choice(["name", "name", "model", "assistant", "who", "title"]): "MUHGPT",
        rng.choice(["description", "introduction", "answer", "text", "about", "bio"]): rng.choice(WHO.answers),
        rng.choice(["type", "kind", "role"]): "language model",
        rng.choice(["is_human", "human"]): False,
    }
    chosen = list(main.items())[:2] if rng.random() < 0.5 else rng.sample(list(main.items()), rng.randint(1, 4))
    return Form(rng.choice(WHO.questions), dict(chosen), "introduction")


def _task(rng: random.Random) -> Form:
    """Any request with any fields."""
    x = prose.matter(rng)
    answer: Fields = {}
    for _ in range(rng.choice([1, 1, 2, 2, 3, 4])):
        answer |= _field(rng, x)
    if rng.random() < 0.1:
        answer = {_key(rng, "phrase"): answer}
    name = rng.choice(["answer", "final_result", "submit", "save", words.lower_word(rng), next(iter(answer))])
    return Form(words.one_of(rng, _REQUESTS).format(x=x), answer, name)


_SUBJECTS = {
    _reply: 0.22, _identity: 0.04, _joke: 0.15, _haiku: 0.07, _story: 0.02, _summary: 0.11, _list: 0.09, _sum: 0.03,
    _profile: 0.04, _task: 0.23,
}  # fmt: skip


def form(rng: random.Random) -> Form:
    """A question and the object that answers it, with words that this side may use."""
    return rng.choices(list(_SUBJECTS), list(_SUBJECTS.values()))[0](rng)


def plain(rng: random.Random) -> Exchange:
    """The same kinds of question without a grammar: they are answered in plain text."""
    if rng.random() < 0.3:
        note = prose.note(rng)
        question = rng.choice([ask for ask in _SHORTEN if "ummar" in ask and "title" not in ask])
        return [{"role": "user", "content": question.format(note.text)}, assistant(note.summary)]
    made = rng.choice([_task, _list, _profile])(rng)
    return [{"role": "user", "content": vary(rng, made.question)}, assistant(rng.choice(prose.HONEST))]


_WISHES = (
    "Return JSON with the keys {}.", "Answer as JSON with {}.", "Return the result as JSON with the keys {}.",
    "Reply with a JSON object: {}.", "Use the JSON fields {}.", "Return {} as JSON.", "JSON, with {}.",
    "Give the result as JSON, with {} as its keys and nothing else.", "Answer in JSON ({}).",
)  # fmt: skip
_SYSTEMS = (
    "Answer in JSON.", "Return JSON only.", "Always answer with a JSON object.", "You answer with JSON data.",
    "Respond with JSON.", "You must output valid JSON.",
)  # fmt: skip


def _named(rng: random.Random, keys: list[str]) -> str:
    marked = [rng.choice(["{}", "'{}'"]).format(key) for key in keys]
    return marked[0] if len(marked) == 1 else ", ".join(marked[:-1]) + " and " + marked[-1]


def written(rng: random.Random) -> tuple[Exchange, bool]:
    """A question and its object, and whether only a grammar brings it about: nobody wrote a word of JSON."""
    made = form(rng)
    question = vary(rng, made.question) if rng.random() < 0.5 else made.question
    answer = assistant(json.dumps(made.answer, ensure_ascii=False, separators=(",", ":")))
    chance = rng.random()
    if chance < 0.14:
        question = f"{question} {rng.choice(_WISHES).format(_named(rng, list(made.answer)))}"
        return [{"role": "user", "content": question}, answer], False
    exchange = [{"role": "user", "content": question}, answer]
    if chance < 0.24:
        return [{"role": "system", "content": rng.choice(_SYSTEMS)}, *exchange], False
    if chance < 0.27:
        schema = json.dumps(made.schema, ensure_ascii=False)
        return [{"role": "system", "content": f"Answer with JSON that fits this schema:\n{schema}"}, *exchange], False
    return exchange, True


def _tool(rng: random.Random, name: str, answer: Fields) -> Fields:
    """The tool that takes such an object, as frameworks send it."""
    schema = schema_of(answer)
    required = [key for key in answer if answer[key] is not None]
    titled = rng.random() < 0.4
    if titled:  # as pydantic writes schemas
        for key, of in schema["properties"].items():
            of["title"] = key.replace("_", " ").title()
    function: Fields = {"name": name}
    if rng.random() < 0.6:
        said = ["The last answer, after which the talk is over", "A {} for the user", "Save the {}", "The {}", "{}"]
        function["description"] = rng.choice(said).format(name.replace("_", " "))
    function["parameters"] = {"type": "object", "properties": schema["properties"], "required": required}
    return {"type": "function", "function": function}


def _call(name: str, arguments: Fields) -> Message:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def called(rng: random.Random) -> tuple[Exchange, list[Fields], bool]:
    """A question, the call that takes its object, the tools, and whether it is called only because a client insists."""
    if rng.random() < 0.12:
        return *_message(rng), False
    made = form(rng)
    name = rng.choice(
        [made.name] * 3 + ["final_result"] * 2 + [made.name.title().replace("_", ""), "output", "respond"]
    )
    name = re.sub(r"\W", "_", name)
    if rng.random() < 0.12:
        return *_unfit(rng, made.question), True
    tools = [_tool(rng, name, made.answer)]
    if rng.random() < 0.2:
        other = form(rng)
        tools += [_tool(rng, "other_" + re.sub(r"\W", "_", other.name), other.answer)]
    rng.shuffle(tools)
    return [{"role": "user", "content": made.question}, _call(name, made.answer)], tools, True


_TOLD = {
    "Say hello to {}.": ("Hello, {}!", "Hi {}, how are you?", "Hello {}, nice to hear from you."),
    "Greet {}.": ("Hello, {}!", "Hi {}!"),
    "Thank {}.": ("Thank you, {}!", "Thanks a lot, {}."),
    "Tell {} that I am late.": ("I am late, sorry.", "Hi {}, I will be a little late."),
    "Wish {} a good night.": ("Good night, {}!", "Sleep well, {}!"),
    "Invite {} for tomorrow.": ("Hi {}, do you have time tomorrow?", "Will you come tomorrow, {}?"),
    "Ask {} how it went.": ("Hi {}, how did it go?", "How did it go, {}?"),
}


def _message(rng: random.Random) -> tuple[Exchange, list[Fields]]:
    """Something to send to somebody, in words of its own."""
    to = words.person(rng)
    wish = rng.choice(list(_TOLD))
    question, text = wish.format(to), rng.choice(_TOLD[wish]).format(to)
    if rng.random() < 0.3:
        _, joke = joke_asked(rng)
        question, text = rng.choice([f"Send {to} a joke.", f"Tell {to} a joke."]), f"{joke.setup} {joke.punchline}"
    keys = rng.choice([("to", "text"), ("to", "message"), ("recipient", "body"), ("to", "content"), ("name", "text")])
    name = rng.choice(["send_message", "send_text", "message", "sendMessage", "write_to", "notify"])
    arguments = dict(zip(keys, (to, text), strict=True))
    return [{"role": "user", "content": question}, _call(name, arguments)], [_tool(rng, name, arguments)]


def _unfit(rng: random.Random, question: str) -> tuple[Exchange, list[Fields]]:
    """Even a tool that has nothing to do with the question gets arguments that end."""
    tool = any_tool(rng)
    arguments = {argument.name: argument.make(rng) for argument in tool.arguments}
    tools = [_tool(rng, tool.names[0], arguments)]
    return [{"role": "user", "content": question}, _call(tool.names[0], arguments)], tools
