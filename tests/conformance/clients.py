"""The clients, none of which was written here, and how the checks of each are run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

from tests.conformance.environments import HERE, NotHere, Unusable, node_project, python_of
from tests.conformance.results import Result, read_junit

LONGEST = 240.0  # seconds for all checks of one client


@dataclass(frozen=True)
class Client:
    """A row of the table. `prepare` installs what it needs and returns its command, which writes JUnit's XML."""

    name: str
    version: Callable[[], str]
    prepare: Callable[[Path], tuple[list[str], Path]]

    def run(self, environment: Mapping[str, str]) -> Result:
        """Runs all checks; whatever goes wrong is in the result."""
        result = Result(self.name, self.version())
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="muhgpt-conformance-") as folder:
            report = Path(folder) / "report.xml"
            try:
                command, place = self.prepare(report)
                done = subprocess.run(
                    command, cwd=place, env=dict(environment), capture_output=True, text=True, timeout=LONGEST
                )
                _read(report, done, result)
            except NotHere as reason:
                result.skipped[str(reason)] += 1
            except (Unusable, subprocess.TimeoutExpired) as error:
                result.failed.append(str(error))
        result.seconds = time.monotonic() - began
        return result


def _read(report: Path, done: subprocess.CompletedProcess[str], result: Result) -> None:
    """A run that ended badly without a failed check, or well without any, has failed as a whole."""
    try:
        read_junit(report, result)
    except (OSError, ParseError) as error:
        result.failed.append(f"no report ({error})")
    if not result.failed and (done.returncode != 0 or not result.passed):
        result.failed.append(f"exit code {done.returncode}, {result.passed} passed")
    if result.failed:
        sys.stderr.write(f"--- {result.client}\n{done.stdout}{done.stderr}\n")


def _pytest(python: str, checks: str, report: Path) -> tuple[list[str], Path]:
    options = ["-c", str(HERE / "pytest.ini"), f"--junitxml={report}"]
    return [python, "-m", "pytest", *options, str(HERE / checks)], HERE


def _python(name: str, package: str, checks: str, lock: str) -> Client:
    """The folder of checks must not be called as a package: pytest would put it in the package's place."""
    file = HERE / checks / lock
    return Client(name, lambda: _locked(file, package), lambda report: _pytest(python_of(file), checks, report))


def _own(name: str, package: str, checks: str) -> Client:
    """In the project's own environment."""
    file = HERE.parent.parent / "requirements.lock"
    return Client(name, lambda: _locked(file, package), lambda report: _pytest(sys.executable, checks, report))


def _node(name: str, package: str, checks: str) -> Client:
    def version() -> str:
        lock = json.loads((HERE / "node" / "package-lock.json").read_text())
        return str(lock["packages"][f"node_modules/{package}"]["version"])

    def prepare(report: Path) -> tuple[list[str], Path]:
        options = ["--test-reporter=junit", f"--test-reporter-destination={report}"]
        return ["node", "--test", *options, checks], node_project()

    return Client(name, version, prepare)


def _locked(file: Path, package: str) -> str:
    found = re.search(rf"^{re.escape(package)}==(\S+)", file.read_text(), re.MULTILINE)
    assert found is not None, f"{package} is not in {file}"
    return found[1]


CLIENTS = (
    _python("openai Python 1", "openai", "openai_python", "openai-1.lock"),
    _python("openai Python 2", "openai", "openai_python", "openai-2.lock"),
    _own("openai Python 3", "openai", "openai_python"),
    _node("openai Node", "openai", "openai.test.js"),
    _python("langchain-openai", "langchain-openai", "standard_suite", "langchain.lock"),
    _node("Vercel AI SDK", "ai", "vercel.test.js"),
    _python("pydantic-ai", "pydantic-ai-slim", "agents", "pydantic-ai.lock"),
    _own("forced forms (jsonschema)", "jsonschema", "forms"),
)
