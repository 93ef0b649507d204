"""The edge's process: settings, socket, then one worker here or several under a supervisor."""

from __future__ import annotations

import argparse
import socket
import sys

from servicekit.clock import SystemClock
from servicekit.errors import StartupError
from servicekit.observability import uncaught as last_words
from servicekit.observability.logging import configure, get_logger
from servicekit.process.file_limit import raise_file_limit
from servicekit.process.run import START_FAILED, run, say_why
from servicekit.settings import load
from services.edge.http.listener import address_of, listen, write_address
from services.edge.settings import EdgeSettings

log = get_logger(__name__)


def main() -> None:
    """Runs the edge until SIGTERM. A StartupError becomes lines on stderr and exit code 2."""
    configure("edge")  # until the settings are read
    last_words.install()
    try:
        settings = _settings()
        configure("edge", format=settings.log_format, level=settings.log_level)
        raise_file_limit()
        listener = listen(settings.listen)
        code = _run_one(settings, listener) if settings.workers == 1 else _run_several(settings, listener)
    except StartupError as error:
        say_why(error)
        code = START_FAILED
    sys.exit(code)


def _settings() -> EdgeSettings:
    parser = argparse.ArgumentParser(prog="python -m services.edge.main", description="The HTTP edge.")
    parser.add_argument("--workers", type=int, help="processes that share the port (MUHGPT_EDGE_WORKERS)")
    workers: int | None = parser.parse_args().workers
    settings = load(EdgeSettings)
    if workers is None:
        return settings
    if not 1 <= workers <= 256:
        raise StartupError(f"--workers {workers} is not between 1 and 256")
    return settings.model_copy(update={"workers": workers})


def _announce(settings: EdgeSettings, listener: socket.socket) -> None:
    log.info("serving", address=address_of(listener), workers=settings.workers)
    write_address(settings.address_file, address_of(listener))


def _run_one(settings: EdgeSettings, listener: socket.socket) -> int:
    from servicekit.observability.metrics import serve_metrics
    from services.edge.process.worker import serve

    serve_metrics(settings.metrics_listen, or_any_port="metrics_listen" not in settings.model_fields_set)

    async def started() -> None:
        _announce(settings, listener)

    run(lambda: serve(settings, listener, on_started=started))
    return 0


def _run_several(settings: EdgeSettings, listener: socket.socket) -> int:
    from services.edge.process.supervisor import Supervisor, metrics_directory, serve_merged_metrics

    with metrics_directory(settings.metrics_dir):
        serve_merged_metrics(settings.metrics_listen, or_any_port="metrics_listen" not in settings.model_fields_set)
        return Supervisor(settings, listener, SystemClock(), lambda: _announce(settings, listener)).run()


if __name__ == "__main__":
    main()
