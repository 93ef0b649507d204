"""`make conformance`: one running platform, and every client of clients.py against it.

Prints a line a client, and with --json FILE writes the same for machines. Exit code 1 when a check failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conformance.accounts import surroundings
from tests.conformance.clients import CLIENTS, Client
from tests.conformance.environments import NotHere, Unusable
from tests.conformance.results import Result
from tests.worlds.processes import Platform, running

AT_ONCE = 2  # clients; the platform and they share the machine's cores


def main() -> int:
    """Runs the clients whose names contain a word of the command line; all of them without any."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run", description=__doc__)
    parser.add_argument("words", nargs="*", help="run only the clients whose names contain one of these")
    parser.add_argument("--install", action="store_true", help="install the clients' packages and run none")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    options = parser.parse_args()
    wanted = [client for client in CLIENTS if not options.words or any(word in client.name for word in options.words)]
    if options.install:
        return _install(wanted)
    with (
        tempfile.TemporaryDirectory(prefix="muhgpt-conformance-") as folder,
        running(Path(folder) / "data") as platform,
    ):
        results = run(platform, wanted)
    if options.json:
        options.json.write_text(json.dumps([result.document() for result in results], indent=2) + "\n")
    return _tell(results)


def run(platform: Platform, clients: Sequence[Client]) -> list[Result]:
    """The clients' results in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda client: client.run(surroundings(platform)), clients))


def _install(clients: Sequence[Client]) -> int:
    """Makes the environments, so that a run finds them. One that cannot be made is named here, and fails there."""
    for client in clients:
        try:
            client.prepare(Path(os.devnull))
        except (NotHere, Unusable) as reason:
            print(f"{client.name}: {reason}")
    return 0


def _tell(results: Sequence[Result]) -> int:
    for result in results:
        print("\n".join(result.lines()))
    passed, failed = sum(result.passed for result in results), sum(len(result.failed) for result in results)
    skipped = sum(sum(result.skipped.values()) for result in results)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
