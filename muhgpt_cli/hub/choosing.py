"""Which of a repository's files to fetch: one model, all its parts, and the projector that makes it see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from muhgpt_cli.errors import CliError
from muhgpt_cli.hub.client import RemoteFile, Repository
from muhgpt_cli.output import printable, size

PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
# What people who publish quantizations call their usual choice, then the closest to the original.
USUAL = ("Q4_K_M", "Q8_0")
# llama.cpp computes a projector in half precision anyway; bfloat16 is slow on most processors.
OF_PROJECTORS = ("F16", "Q8_0", "BF16", "F32")
NO_MODELS = ("mmproj", "imatrix")
SHOWN = 40  # choices of an error


@dataclass(frozen=True)
class Choice:
    """A model of a repository: its file, or its parts in order."""

    files: tuple[RemoteFile, ...]

    @property
    def name(self) -> str:
        """Its path without the number of a part, as one asks for it."""
        return PART.sub(".gguf", self.files[0].path)

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(file.size for file in self.files)

    def is_quantization(self, tag: str) -> bool:
        """Whether its name says that it is, for example, Q4_K_M."""
        return _says(self.name.rpartition("/")[2], tag)


def models(repository: Repository) -> list[Choice]:
    """Every model of the repository by name, parts together. Raises CliError: there is none, or parts are missing."""
    found: dict[str, list[RemoteFile]] = {}
    for file in _ggufs(repository):
        if not any(word in file.name.lower() for word in NO_MODELS):
            found.setdefault(PART.sub(".gguf", file.path), []).append(file)
    if not found:
        hint = f"; a repository called {repository.id}-GGUF, or another's, may have them"
        raise CliError(f"{repository.id} has no GGUF files{hint if not repository.id.lower().endswith('gguf') else ''}")
    return [Choice(_in_order(name, files)) for name, files in sorted(found.items())]


def choose(repository: Repository, asked: str) -> Choice:
    """The model that `asked` names: a file, or a quantization such as Q8_0. "": the only one, else the usual.

    Raises CliError that lists what there is.
    """
    choices = models(repository)
    if asked:
        fits = [choice for choice in choices if _is_called(choice, asked)]
        fits = fits or [choice for choice in choices if choice.is_quantization(asked)]
        if len(fits) == 1:
            return fits[0]
        problem, verb = (f"{len(fits)} models of", "fit") if fits else ("no model of", "fits")
        raise CliError(f"{problem} {repository.id} {verb} {asked!r}. {_listing(repository, fits or choices)}")
    if len(choices) == 1:
        return choices[0]
    for tag in USUAL:
        fits = [choice for choice in choices if choice.is_quantization(tag)]
        if len(fits) == 1:
            return fits[0]
    raise CliError(f"{repository.id} has {len(choices)} models. {_listing(repository, choices)}")


def projector(repository: Repository, model: Choice) -> RemoteFile | None:
    """The projector that comes with a model, None where there is none: the one in its folder, F16 before others."""
    found = [file for file in _ggufs(repository) if "mmproj" in file.name.lower()]
    folder = model.files[0].path.rpartition("/")[0]
    near = [file for file in found if file.path.rpartition("/")[0] == folder] or found
    ranked = sorted(near, key=lambda file: (_rank(file), file.path))
    return ranked[0] if ranked else None


def _ggufs(repository: Repository) -> Iterable[RemoteFile]:
    return (file for file in repository.files if file.path.lower().endswith(".gguf"))


def _in_order(name: str, files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """A model's parts; llama.cpp finds the others beside the first by their names."""
    parts = sorted(files, key=lambda file: file.path)
    found = PART.search(parts[0].path)
    if found is None:
        return (parts[0],)
    numbers = [int(PART.search(part.path)[1]) for part in parts if PART.search(part.path)]  # type: ignore[index]
    if numbers != list(range(1, int(found[2]) + 1)):
        raise CliError(f"{printable(name)} is split into {int(found[2])} files, and the repository lacks some of them")
    return tuple(parts)


def _is_called(choice: Choice, asked: str) -> bool:
    """By its path or its file's name, with or without `.gguf`; by its first part too."""
    names = {choice.name, choice.name.rpartition("/")[2], choice.files[0].path, choice.files[0].name}
    return bool({asked, f"{asked}.gguf"} & names)


def _rank(file: RemoteFile) -> int:
    return next((rank for rank, tag in enumerate(OF_PROJECTORS) if _says(file.name, tag)), len(OF_PROJECTORS))


def _says(name: str, tag: str) -> bool:
    """Whether the tag stands in a name as a word: F16 not within BF16, Q4_K not within Q4_K_M."""
    return re.search(rf"(?<![A-Z0-9]){re.escape(tag)}(?![A-Z0-9_])", name, re.IGNORECASE) is not None


def _listing(repository: Repository, choices: Sequence[Choice]) -> str:
    shown = "".join(f"\n  {printable(choice.name)}  {size(choice.size)}" for choice in choices[:SHOWN])
    more = f"\n  and {len(choices) - SHOWN} more" if len(choices) > SHOWN else ""
    return f"Name one, as {repository.id}:{printable(choices[0].name)}:{shown}{more}"
