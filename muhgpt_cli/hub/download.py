"""One file from the hub to the disk: goes on where it stopped, and is in its place only when its checksum is right."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from muhgpt_cli.errors import CliError
from muhgpt_cli.hub.client import Hub, Interrupted, RemoteFile, Repository
from muhgpt_cli.output import printable, size

ATTEMPTS = 6  # in a row that bring no byte
FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0  # seconds between them, doubled
MARGIN = 64 * 1024 * 1024  # bytes that are left free on the disk
READ = 4 * 1024 * 1024  # bytes of a file that is hashed


class Progress(Protocol):
    """Is told how far a file has come: `at` of its bytes are there; `what` is being done."""

    def __call__(self, what: str, file: RemoteFile, at: int) -> None: ...


class Downloader:
    """Fetches files of one repository to below `folder`."""

    def __init__(
        self,
        hub: Hub,
        repository: Repository,
        folder: Path,
        progress: Progress,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._hub = hub
        self._repository = repository
        self._folder = folder
        self._progress = progress
        self._sleep = sleep
        self.fetched = 0  # bytes that came over the wire

    def place(self, file: RemoteFile) -> Path:
        """Where a file lies. Raises CliError for a path that would lead out of the folder."""
        parts = file.path.split("/")
        if any(part in ("", ".", "..") or not part.isprintable() or "\\" in part for part in parts):
            raise CliError(f"{self._repository.id} has a file with an impossible name: {printable(file.path)!r}")
        return self._folder.joinpath(*parts)

    def check_space(self, files: list[RemoteFile]) -> None:
        """Raises CliError when what is still to be fetched does not fit on the disk."""
        self._folder.mkdir(parents=True, exist_ok=True)
        missing = sum(file.size - _length(self._part(file)) for file in files if not self._is_there(file))
        free = shutil.disk_usage(self._folder).free
        if missing > 0 and missing + MARGIN > free:
            raise CliError(
                f"{size(missing)} are to be fetched and {size(free)} are free in {self._folder}; make room, choose a"
                " smaller quantization, or another disk with --data-dir"
            )

    def fetch(self, file: RemoteFile) -> Path:
        """The file in its place, its checksum right; nothing is fetched when it is there. Raises CliError."""
        place, part = self.place(file), self._part(file)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if self._is_there(file) and self._digest_of(place, file) == _wanted(file):
                return place
            with _alone(part) as opened:
                self._fill(opened, file, part)
                os.replace(part, place)
        except OSError as error:
            there = f"; {size(_length(part))} of {size(file.size)} are there, and the same command goes on from there"
            raise CliError(f"cannot write {place}: {error.strerror}{there}") from None
        return place

    def _part(self, file: RemoteFile) -> Path:
        """Where a file grows. The checksum in its name keeps another version's beginning apart."""
        place = self.place(file)
        return place.with_name(f".{place.name[:180]}.{(_wanted(file) or '0')[:16]}.part")

    def _is_there(self, file: RemoteFile) -> bool:
        return _length(self.place(file)) == file.size > 0

    def _fill(self, opened: BinaryIO, file: RemoteFile, part: Path) -> None:
        """Fetches what is missing, over as many connections as it takes, and proves the whole."""
        digest = _digest(file)
        for piece in _pieces(opened):  # what an earlier attempt left
            digest.update(piece)
            self._progress("checking", file, opened.tell())
        failures = 0
        while (have := opened.tell()) < file.size:
            why = Interrupted("it ended too early", answered=True)
            try:
                digest = self._stream(opened, file, digest)
            except Interrupted as interrupted:
                why = interrupted
            if opened.tell() >= file.size:
                break
            failures = 1 if opened.tell() > have else failures + 1
            if failures >= ATTEMPTS:
                raise self._stopped(file, opened.tell(), why)
            self._progress("waiting to try again", file, opened.tell())
            self._sleep(min(why.after or FIRST_PAUSE * 2 ** (failures - 1), LAST_PAUSE))
        opened.flush()
        os.fsync(opened.fileno())
        self._prove(file, digest.hexdigest(), part)

    def _stream(self, opened: BinaryIO, file: RemoteFile, digest: hashlib._Hash) -> hashlib._Hash:
        """One connection's worth of bytes. Raises Interrupted, and has then kept what came."""
        with self._hub.content(self._repository, file, opened.tell()) as (start, pieces):
            if start not in (0, opened.tell()):
                raise Interrupted("another part came than was asked for")
            if start != opened.tell():  # it knows no ranges: from the beginning
                opened.seek(0)
                opened.truncate()
                digest = _digest(file)
            for piece in pieces:
                self.fetched += len(piece)
                wanted = piece[: file.size - opened.tell()]
                opened.write(wanted)
                digest.update(wanted)
                self._progress("fetching", file, opened.tell())
                if opened.tell() >= file.size:
                    break
        return digest

    def _prove(self, file: RemoteFile, found: str, part: Path) -> None:
        if found != _wanted(file):
            part.unlink(missing_ok=True)
            raise CliError(
                f"{file.name} came with a wrong checksum: {_kind(file)} {found}, and the hub names {_wanted(file)}."
                " What came was thrown away and nothing else was changed; try again"
            )

    def _digest_of(self, place: Path, file: RemoteFile) -> str:
        digest = _digest(file)
        with place.open("rb") as opened:
            for piece in _pieces(opened):
                digest.update(piece)
                self._progress("checking", file, opened.tell())
        return digest.hexdigest()

    def _stopped(self, file: RemoteFile, at: int, why: Interrupted) -> CliError:
        if at == 0:
            return self._hub.unreachable(why)
        return CliError(
            f"{file.name} stopped at {size(at)} of {size(file.size)} ({why}); the same command goes on from there"
        )


def check_known(file: RemoteFile) -> None:
    """Raises CliError for a file without a checksum or a size: it could not be told from a damaged one."""
    if not file.size or _wanted(file) is None:
        raise CliError(f"the hub names no size or no checksum of {printable(file.path)}, so it is not fetched")


def _wanted(file: RemoteFile) -> str | None:
    return file.sha256 or file.git_sha1


def _kind(file: RemoteFile) -> str:
    return "SHA-256" if file.sha256 else "Git's SHA-1"


def _digest(file: RemoteFile) -> hashlib._Hash:
    """SHA-256 of the content; of small files the hub names Git's: SHA-1 of a header and the content."""
    if file.sha256:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _pieces(opened: BinaryIO) -> Iterator[bytes]:
    while piece := opened.read(READ):
        yield piece


@contextmanager
def _alone(part: Path) -> Iterator[BinaryIO]:
    """The part, open to go on, for this process alone. Raises CliError when another fetches it now."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
    with os.fdopen(descriptor, "r+b") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CliError(f"another `muhgpt models pull` fetches {part.name} now; wait for it") from None
        yield opened
