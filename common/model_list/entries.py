"""What the model list says, read and checked. Equal entries mean the same, so that a reload knows what has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from servicekit.errors import StartupError


@dataclass(frozen=True)
class Price:
    """Credits for a million tokens."""

    input: int
    output: int


@dataclass(frozen=True)
class Place:
    """Where something stands in the list, for errors that are found later: "models.yaml:7: models.big.key_env"."""

    text: str

    def error(self, problem: str) -> StartupError:
        """What is wrong with it."""
        return StartupError(f"{self.text}: {problem}")


@dataclass(frozen=True)
class Secret:
    """Where an upstream's key is: a variable of the environment or a file. The list never holds the key itself."""

    variable: str = ""
    file: Path | None = None
    place: Place = field(default=Place(""), compare=False)

    def read(self, environment: Mapping[str, str]) -> str:
        """The key. Raises StartupError that names the line of the list and what is missing; never the key."""
        if self.file is None:
            key = environment.get(self.variable, "").strip()
            if not key:
                # Some providers' keys look like a variable's name; who wrote one here must not find it in the log.
                name = f"variable {self.variable}" if self.variable.isupper() else "variable that it names"
                raise self.place.error(f"the environment {name} is not set; set it to the key")
        else:
            try:
                key = self.file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                problem = getattr(error, "strerror", None) or "it is not text"
                raise self.place.error(f"cannot read the key's file: {problem}") from None
            if not key:
                raise self.place.error("the key's file is empty; write the key into it")
        if not (key.isascii() and key.isprintable()):
            raise self.place.error("the key holds characters that no HTTP header can carry")
        return key


@dataclass(frozen=True)
class Tokenizer:
    """What counts an upstream's tokens: one of TOKENIZERS (targets.py), or a tokenizer.json with its template."""

    name: str = ""
    file: Path | None = None
    place: Place = field(default=Place(""), compare=False)


@dataclass(frozen=True)
class LlamaTarget:
    """A model that llama.cpp runs inside the inference service."""

    name: str
    file: Path | None
    context_length: int  # tokens, prompt and answer together
    projector: Path | None = None  # what turns pictures into the model's own language
    weight: int = 1
    order: int = 1


@dataclass(frozen=True)
class UpstreamTarget:
    """A model that another OpenAI-compatible server runs. Times in seconds."""

    name: str
    base_url: str  # without a slash at its end
    model: str  # as that server calls it
    context_length: int
    server: str = "openai"  # what it understands beside OpenAI's own API: targets.py, SERVERS
    secret: Secret | None = None
    key_header: str = "authorization"  # which carries "Bearer KEY"; any other one carries the key alone
    headers: tuple[tuple[str, str], ...] = ()
    connect_timeout: float = 5.0
    first_token_timeout: float = 60.0
    token_timeout: float = 30.0
    max_concurrent: int = 32
    max_output_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    image_tokens: int | None = None  # what one image takes; None: by OpenAI's rule
    tokenizer: Tokenizer | None = None  # None: o200k_base as an estimate
    unsupported: frozenset[str] = frozenset()  # fields that it ignores or refuses, of UNSUPPORTABLE
    weight: int = 1
    order: int = 1


Target = LlamaTarget | UpstreamTarget


@dataclass(frozen=True)
class ModelEntry:
    """One model. `id` is canonical: charges and usage name it. For clients all its targets are one model."""

    id: str
    context_length: int  # tokens, prompt and answer together
    abilities: frozenset[str]
    price: Price
    aliases: tuple[str, ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class ModelList:
    """All models, by canonical id, and the names that clients may use."""

    models: dict[str, ModelEntry]

    def resolve(self, alias: str) -> ModelEntry | None:
        """The model that a client's name stands for."""
        return self.models.get(self.names().get(alias, ""))

    def names(self) -> dict[str, str]:
        """Every name that clients may use, with its canonical id; canonical ids first."""
        names = {model: model for model in self.models}
        names.update({alias: entry.id for entry in self.models.values() for alias in entry.aliases})
        return names
