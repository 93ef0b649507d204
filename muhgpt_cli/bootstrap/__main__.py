"""The bootstrap Job's command: 0 when every Secret is there, 2 with the reason on stderr when not."""

from __future__ import annotations

import secrets
import sys
from contextlib import suppress

from muhgpt_cli import streams
from muhgpt_cli.bootstrap.cluster import Secrets
from muhgpt_cli.bootstrap.secrets import ensure_all
from muhgpt_cli.bootstrap.settings import BootstrapSettings
from servicekit.clock import SystemClock, to_datetime
from servicekit.errors import StartupError
from servicekit.process.run import START_FAILED
from servicekit.settings import load


def main() -> int:
    """Makes what is missing, and says what it made."""
    try:
        with Secrets(load(BootstrapSettings, {})) as cluster:
            made = ensure_all(cluster, to_datetime(SystemClock().now_us()), lambda: secrets.token_hex(32))
    except StartupError as error:
        sys.stderr.write(f"error: {error}\n")
        return START_FAILED
    with suppress(OSError):
        sys.stdout.write(f"made: {', '.join(made)}\n" if made else "everything was there\n")
    return 0


if __name__ == "__main__":
    streams.prepare()
    done = main()
    streams.finish(done or 1)  # the Secrets are there, whether or not anybody reads so
    sys.exit(done)
