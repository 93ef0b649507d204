"""docker or podman, for pods from images: on the host's network, read-only, as the manifests' user, no capabilities."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ASK = 30.0  # seconds
ENGINES = ("docker", "podman")


@dataclass(frozen=True)
class Engine:
    """A container engine that runs and has the images."""

    program: str

    def run(
        self,
        name: str,
        image: str,
        command: Sequence[str],
        *,
        user: str,
        variables: Mapping[str, str],
        folders: Mapping[str, str],
    ) -> list[str]:
        """The command that runs a container in the foreground: signals reach it, and its exit code is ours.

        `folders`: here by there. Variables go by name, so that their values are in no list of processes.
        """
        options = ["--rm", f"--name={name}", "--network=host", "--read-only", "--tmpfs=/tmp", f"--user={user}"]
        options += ["--cap-drop=ALL", "--security-opt=no-new-privileges"]
        options += [f"--volume={here}:{there}:ro" for there, here in folders.items()]
        options += [f"--env={name}" for name in variables]
        return [self.program, "run", *options, image, *command]

    def kill(self, name: str) -> None:
        """Ends a container whose foreground command was killed."""
        subprocess.run([self.program, "kill", name], capture_output=True, timeout=ASK)


def find(images: Iterable[str]) -> tuple[Engine | None, str]:
    """An engine with all these images; else None, and why."""
    for program in ENGINES:
        if shutil.which(program) is None or not _succeeds(program, "info"):
            continue
        missing = [image for image in images if not _succeeds(program, "image", "inspect", image)]
        if not missing:
            return Engine(program), f"{program} runs the images"
        return None, f"{program} has no {missing[0]} (make images)"
    return None, "neither docker nor podman runs here"


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=ASK).returncode == 0
