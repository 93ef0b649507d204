"""The command that brings a service's database up to date."""

from __future__ import annotations

import argparse
from pathlib import Path

from servicekit.database.database import migrate_database
from servicekit.observability import logging
from servicekit.observability.logging import get_logger
from servicekit.process.run import run
from servicekit.settings import DatabaseSettings, ProcessSettings, load

log = get_logger(__name__)

WAIT = 120.0  # seconds


def command(
    service: str, settings: type[DatabaseSettings], *, part_of: type[ProcessSettings], migrations: Path
) -> None:
    """Reads the arguments and the environment, migrates, and ends: 0 when the database is up to date, else 2."""
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{service}.migrate", description=f"Brings {service}'s database up to date."
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=WAIT,
        metavar="SECONDS",
        help=f"how long to wait for the database, and for another that migrates it ({WAIT:g})",
    )
    wait = parser.parse_args().wait

    async def main() -> None:
        place = load(settings, part_of=part_of)
        logging.configure(service)
        revision = await migrate_database(
            place.database_url,
            migrations=migrations,
            schema=place.database_schema,
            setting=f"MUHGPT_{service.upper()}_DATABASE_URL",
            wait=wait,
            ca_file=place.database_ca_file,
        )
        log.info("database_up_to_date", revision=revision)

    run(main)
