"""docs/settings.md names every setting of every service, with its default, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from muhgpt_cli.local.preflight import DECIDED, DECIDED_FOR_EDGE
from muhgpt_cli.system import CliSettings
from servicekit.settings import ProcessSettings, ServiceSettings
from services.auth.settings import AuthSettings
from services.edge.settings import EdgeSettings
from services.inference.settings import InferenceSettings
from services.quota.settings import QuotaSettings

DOCS = Path(__file__).parents[3] / "docs"
SERVICES = [AuthSettings, QuotaSettings, InferenceSettings, EdgeSettings]
SHARED = set(ServiceSettings.model_fields) | {"listen"}


def rows() -> dict[str, tuple[str, bool]]:
    """Setting to its default as written, and whether it is marked as decided by `muhgpt up`."""
    lines = (DOCS / "settings.md").read_text().splitlines()
    found = [re.match(r"\| `(\S+)`( \*)? \| ([^|]+) \|", line) for line in lines]
    return {match[1]: (match[3], bool(match[2])) for match in found if match and match[1].startswith(("MUHGPT_", "…_"))}


def names(settings: type[ProcessSettings]) -> set[str]:
    prefix = str(settings.model_config["env_prefix"])
    return {f"…_{name.upper()}" if name in SHARED else prefix + name.upper() for name in settings.model_fields}


def test_the_page_names_every_setting_and_no_other() -> None:
    assert set(rows()) == {name for settings in SERVICES for name in names(settings)}


@pytest.mark.parametrize("settings", SERVICES, ids=lambda settings: settings.__name__)
def test_the_defaults_on_the_page_are_those_of_the_code(settings: type[ProcessSettings]) -> None:
    prefix = str(settings.model_config["env_prefix"])
    for name, field in settings.model_fields.items():
        written, _ = rows()[f"…_{name.upper()}" if name in SHARED else prefix + name.upper()]
        if field.default is PydanticUndefined:
            assert "required" in written, name
        elif field.default is not None:
            default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            assert f"`{default}`" in written, name


def test_what_up_decides_is_marked() -> None:
    marked = {name for name, (_, decided) in rows().items() if decided}
    assert marked == {f"…_{name}" for name in DECIDED} | {f"MUHGPT_EDGE_{name}" for name in DECIDED_FOR_EDGE}


def test_the_command_lines_own_variables_are_in_its_guide() -> None:
    text = (DOCS / "cli.md").read_text()
    for name in CliSettings.model_fields:
        assert f"MUHGPT_CLI_{name.upper()}" in text, name
