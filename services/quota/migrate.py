"""`python -m services.quota.migrate`: brings quota's database up to date and ends; what an init container runs.

Harmless to repeat, and from several pods at once. Exit code 0: up to date; 2: not, with the reason on stderr.
"""

from __future__ import annotations

from pathlib import Path

from servicekit.database.migrate import command
from services.quota.settings import QuotaDatabaseSettings, QuotaSettings

MIGRATIONS = Path(__file__).parent / "migrations"
COMMAND = "python -m services.quota.migrate"

if __name__ == "__main__":
    command("quota", QuotaDatabaseSettings, part_of=QuotaSettings, migrations=MIGRATIONS)
