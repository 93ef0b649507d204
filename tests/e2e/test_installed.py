"""`pip install 'muhgpt[all]'` and `muhgpt up`, without the checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.installed import ROOT, build_wheel, environment
from tests.worlds.processes import running

SHOW = """
import muhgpt, muhgpt_cli, servicekit, services.edge
print(*(module.__path__[0] for module in (muhgpt, muhgpt_cli, servicekit, services.edge)))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and the extra `all`."""
    folder = tmp_path_factory.mktemp("installed")
    return environment(folder / "environment", build_wheel(folder), "all")


def test_the_wheel_with_the_extra_all_is_all_that_up_needs(programs: Path, tmp_path: Path) -> None:
    with running(tmp_path / "data", program=(str(programs / "muhgpt"),), cwd=tmp_path) as platform:
        assert platform.first_key is not None
        with platform.openai(platform.first_key) as client:
            answer = client.chat.completions.create(
                model="muh-chat", messages=[{"role": "user", "content": "Hello!"}], max_tokens=5
            )
        assert answer.choices[0].message.content
        assert platform.usage(platform.first_key)


def test_nothing_of_it_comes_from_the_checkout(programs: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(programs / "python"), "-c", SHOW], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert all(programs.parent in Path(path).parents for path in done.stdout.split())
    assert not any(Path(path).is_relative_to(ROOT) for path in done.stdout.split())
