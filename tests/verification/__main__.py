"""Records the runs of the long suites in docs/verification.md, and says which are missing.

python -m tests.verification record SUITE ARGS COMMAND...   runs the command; a run with ARGS is not recorded
python -m tests.verification check [--warn] [SUITE...]      exit code 1 when a suite is not green; with --warn, 0
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.verification import page
from tests.verification.check import problems
from tests.verification.covered import commit, covered
from tests.verification.page import ROOT, Record
from tests.verification.suites import SUITES, Suite


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["record", name, "", *command] if command and name in SUITES:
            return record(SUITES[name], command)
        case ["record", name, _, *command] if command and name in SUITES:
            return subprocess.run(command, cwd=ROOT).returncode
        case ["check", *options] if set(options) <= {"--warn", *SUITES}:
            return check([name for name in SUITES if name in options] or list(SUITES), warn="--warn" in options)
    sys.stderr.write(__doc__ or "")
    return 2


def record(suite: Suite, command: Sequence[str]) -> int:
    """Runs the suite, shows what it prints, and writes its row whatever came of it."""
    before, at, began = covered(suite.covers), commit(), time.monotonic()
    status, output = run(command)
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M")
    seconds = round(time.monotonic() - began)
    figures = suite.headline(output)
    page.add(Record(suite.name, f"make {suite.name}", at, date, status == 0, figures, seconds, before))
    print(f"recorded in docs/verification.md: {suite.name} {'green' if status == 0 else 'red'} in {seconds} s")
    return status


def run(command: Sequence[str]) -> tuple[int, str]:
    """The exit code and all that was printed, which is passed on as it comes."""
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
    return process.returncode, "".join(lines)


def check(names: Sequence[str], *, warn: bool) -> int:
    """Prints a line for each of the suites that is not green on the files as they are."""
    found = list(problems([SUITES[name] for name in names], page.read(), covered))
    for problem in found:
        print(f"{'warning' if warn else 'error'}: {problem}; run: make {problem.partition(':')[0]}")
    return 1 if found and not warn else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
