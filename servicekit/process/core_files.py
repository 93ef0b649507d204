"""Core files: none, because prompts and keys are in a process's memory."""

from __future__ import annotations

import resource

__all__ = ["forbid_core_files"]


def forbid_core_files() -> None:
    """No crash of this process, or of one that it starts, writes its memory down: prompts and keys are in it (G11).

    A limit of 0 still lets core files into a program that /proc/sys/kernel/core_pattern names; Linux takes 1 to mean
    neither file nor program (fs/coredump.c), and less than a page is no file elsewhere either.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (1 if hard else 0, hard))
