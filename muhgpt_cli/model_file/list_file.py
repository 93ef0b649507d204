"""The operator's model list on the disk: read, changed, proved by the services' own reader, written in one step."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from common.model_list import (
    DEFAULT_FILE,
    SHIPPED,
    LlamaTarget,
    ModelEntry,
    ModelList,
    Price,
    Target,
    load_model_list,
    parse_model_list,
)
from muhgpt_cli.errors import CliError
from muhgpt_cli.model_file.list_text import ListText, entry_lines, scalar, sequence
from servicekit.errors import StartupError

HEADER = """\
# The models that this platform serves and what they cost, in credits for a million tokens.
# `muhgpt models pull` adds to it; change it as you like.
models:
"""


@dataclass(frozen=True)
class PulledModel:
    """What the list shall say of a fetched model. None: what it says already, or what is usual."""

    name: str
    file: Path
    projector: Path | None
    trained_context: int  # tokens
    abilities: tuple[str, ...]
    context: int | None = None
    input_price: int | None = None
    output_price: int | None = None
    usual_context: int = 8192

    @property
    def new_context(self) -> int:
        """Tokens, for an entry that knew another file or none."""
        return self.context or min(self.trained_context, self.usual_context)

    def is_run_by(self, target: Target) -> bool:
        """Whether a target of the list runs these files."""
        files = (self.file.resolve(), self.projector.resolve() if self.projector else None)
        return isinstance(target, LlamaTarget) and (target.file, target.projector) == files


class ListFile:
    """One list. Methods raise CliError that says what is wrong where; the file is then as it was."""

    def __init__(self, path: Path) -> None:
        # A link stays a link: what it leads to is changed.
        self.path = Path(os.path.realpath(path))
        if SHIPPED.parent.resolve() in self.path.parents:
            raise CliError(f"{path} belongs to the installed package; copy it, and name the copy with --models")

    def check(self, name: str, file: Path, *, replace: bool) -> None:
        """Whether a model could be put there under this name; to be asked before gigabytes are fetched."""
        self._check_name(self._parse(self._text()), name, file, replace=replace)

    def put(self, model: PulledModel, *, replace: bool) -> tuple[ModelEntry, bool]:
        """The entry of the model, made or changed, and whether the file changed. `replace`: an entry of this name may
        take another file."""
        with self._locked():
            text = self._text()
            known = self._parse(text)
            self._check_name(known, model.name, model.file, replace=replace)
            changed = self._with(text, known, model)
            result = self._proved(changed, known, model)
            if changed == text and self.path.exists():
                return result, False
            self._write(changed)
            return result, True

    def _with(self, text: str, known: ModelList, model: PulledModel) -> str:
        entry = known.models.get(model.name)
        if entry is None:
            return ListText(text).added(model.name, self._fields(model, known))
        target = entry.targets[0]
        assert isinstance(target, LlamaTarget)
        fields: dict[str, str | None] = {}
        if not model.is_run_by(target):
            fields["projector"] = None if model.projector is None else self._reference(model.projector)
            fields["file"] = self._reference(model.file)
        if target.file != model.file.resolve():
            fields["context_length"] = str(model.new_context)
            fields["abilities"] = sequence(model.abilities)
        elif model.context is not None:
            fields["context_length"] = str(model.context)
        if price := self._price(model, entry.price, always=False):
            fields["price"] = price
        return ListText(text).changed(model.name, fields)

    def _fields(self, model: PulledModel, known: ModelList) -> dict[str, str]:
        usual = load_model_list(None).resolve("muh-chat")
        price = self._price(model, usual.price if usual else Price(1_000_000, 3_000_000), always=True)
        return {
            "engine": "llama",
            "file": self._reference(model.file),
            **({"projector": self._reference(model.projector)} if model.projector else {}),
            "context_length": str(model.new_context),
            "abilities": sequence(model.abilities),
            "price": price,
        }

    def _price(self, model: PulledModel, known: Price, *, always: bool) -> str:
        new = [
            old if told is None else told
            for told, old in ((model.input_price, known.input), (model.output_price, known.output))
        ]
        if not always and new == [known.input, known.output]:
            return ""
        return f"{{input: {new[0]}, output: {new[1]}}}"

    def _reference(self, file: Path) -> str:
        """A file as the list names it: from its own folder where it lies below that."""
        folder = self.path.parent
        return scalar(str(file.relative_to(folder) if folder in file.parents else file))

    def _check_name(self, known: ModelList, name: str, file: Path, *, replace: bool) -> None:
        entry = known.models.get(name)
        if entry is None:
            if owner := known.names().get(name):
                raise CliError(
                    f"{self.path}: {name} is an alias of {owner}; use --alias {owner} to exchange that model, another"
                    f" --alias, or take {name} out there first"
                )
            return
        where = f"{self.path}:{ListText(self._text()).line(name)}: {name}"
        if len(entry.targets) > 1 or not isinstance(entry.targets[0], LlamaTarget):
            raise CliError(f"{where} is answered by other servers; choose another --alias, or change it there by hand")
        if not replace and entry.targets[0].file != file.resolve():
            raise CliError(f"{where} has another file already; --alias {name} exchanges it, another --alias keeps both")

    def _text(self) -> str:
        """What the file says; where there is none yet, what a new list says: the models that are shipped."""
        try:
            with self.path.open(newline="") as opened:
                return opened.read()
        except FileNotFoundError:
            return _starter()
        except UnicodeDecodeError as error:
            raise CliError(f"{self.path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
        except OSError as error:
            raise CliError(f"cannot read the model list {self.path}: {error.strerror}") from None

    def _parse(self, text: str) -> ModelList:
        try:
            return parse_model_list(text, self.path)
        except StartupError as error:
            raise CliError(f"the model list has a mistake, correct it first: {error}") from None

    def _proved(self, changed: str, known: ModelList, model: PulledModel) -> ModelEntry:
        """What the services will read. Raises CliError unless that is right and nothing else changed."""
        name = model.name
        try:
            read = parse_model_list(changed, self.path)
        except (StartupError, yaml.YAMLError):
            read = ModelList({})
        others = {key: entry for key, entry in read.models.items() if key != name}
        same = others == {key: entry for key, entry in known.models.items() if key != name}
        if not same or name not in read.models or not model.is_run_by(read.models[name].targets[0]):
            raise CliError(
                f"{self.path} is written in a way that cannot be changed here; write the entry of {name} by hand"
                " (docs/models.md), or put its fields below each other without anchors"
            )
        return read.models[name]

    def _write(self, text: str) -> None:
        """In one step: whoever reads the list sees the old or the new one."""
        try:
            scratch = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}")
            with scratch.open("x", newline="") as opened:
                descriptor = opened.fileno()
                if self.path.exists():
                    os.fchmod(descriptor, self.path.stat().st_mode & 0o777)
                opened.write(text)
                opened.flush()
                os.fsync(descriptor)
            os.replace(scratch, self.path)
        except OSError as error:
            raise CliError(f"cannot write the model list {self.path}: {error.strerror}") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time; the folder itself is the lock, so none is left behind."""
        try:
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise CliError(f"cannot open the folder of the model list {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _starter() -> str:
    return HEADER + "".join(f"  {line}\n" for entry in load_model_list(None).models.values() for line in _lines(entry))


def _lines(entry: ModelEntry) -> list[str]:
    """An entry of the shipped list, which has one llama target each."""
    target = entry.targets[0]
    assert isinstance(target, LlamaTarget)
    file = "default" if target.file == DEFAULT_FILE else str(target.file)
    fields = {
        "engine": "llama",
        "file": scalar(file),
        **({"projector": scalar(str(target.projector))} if target.projector else {}),
        "context_length": str(entry.context_length),
        "abilities": sequence(sorted(entry.abilities - {"vision"}, reverse=True)),  # that comes with the projector
        "price": f"{{input: {entry.price.input}, output: {entry.price.output}}}",
        "aliases": sequence(entry.aliases),
    }
    return entry_lines(entry.id, fields)
