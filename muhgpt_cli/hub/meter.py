"""How far a download is: a bar at a terminal, a line now and then elsewhere, nothing when quiet."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from muhgpt_cli.hub.client import RemoteFile
from muhgpt_cli.output import printable, size

WIDE = 72  # columns from which speed and remaining time are shown too
STEP = 10  # percent between two lines


class Meter:
    """Use as `with Meter(console, quiet=…) as meter`; `meter` is a Progress of download.py."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._bar = self._new_bar() if console.is_terminal and not quiet else None
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._told: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Meter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, file: RemoteFile, at: int) -> None:
        """See Progress."""
        if self._bar is not None:
            self._move(self._bar, what, file, at)
        elif not self._quiet:
            self._tell(what, file, at)

    def _new_bar(self) -> Progress:
        columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(bar_width=None), DownloadColumn()]
        if self._console.width >= WIDE:
            columns += [SpeedColumn(), TimeRemainingColumn(compact=True)]
        return Progress(*columns, console=self._console, expand=True)

    def _move(self, bar: Progress, what: str, file: RemoteFile, at: int) -> None:
        key = ("", file.path)
        if key not in self._tasks:
            # Speed is that of what comes, not of what was there.
            self._tasks[key] = bar.add_task(self._label(what, file), total=file.size, completed=at)
        bar.update(self._tasks[key], completed=at, description=self._label(what, file))

    def _label(self, what: str, file: RemoteFile) -> str:
        """What is done to which file, in at most two fifths of the line; a name's end tells more than its beginning."""
        name, most = printable(file.name), max(10, self._console.width * 2 // 5)
        if what == "fetching":
            return name if len(name) <= most else f"…{name[-(most - 1) :]}"
        text = f"{what} {name}"
        return text if len(text) <= most else f"{text[: most - 1]}…"

    def _tell(self, what: str, file: RemoteFile, at: int) -> None:
        key, percent = (what, file.path), 100 * at // max(1, file.size)
        if what == "waiting to try again" or key not in self._told or percent // STEP > self._told[key] // STEP:
            self._told[key] = percent
            name = printable(file.name)
            self._console.print(f"{what} {name}: {percent} % of {size(file.size)}", soft_wrap=True)
