"""`python -m services.auth.migrate`: brings auth's database up to date and ends; what an init container runs.

Harmless to repeat, and from several pods at once. Exit code 0: up to date; 2: not, with the reason on stderr.
"""

from __future__ import annotations

from pathlib import Path

from servicekit.database.migrate import command
from services.auth.settings import AuthDatabaseSettings, AuthSettings

MIGRATIONS = Path(__file__).parent / "migrations"
COMMAND = "python -m services.auth.migrate"

if __name__ == "__main__":
    command("auth", AuthDatabaseSettings, part_of=AuthSettings, migrations=MIGRATIONS)
