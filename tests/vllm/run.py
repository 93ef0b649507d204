"""`make vllm-check`: the upstream engine against a real vLLM.

MUHGPT_VLLM_URL and MUHGPT_VLLM_MODEL name one that runs already, by its address and its model's directory.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.vllm.environment import model, serving

CHECKS = [str(Path(__file__).with_name(name)) for name in ("checks.py", "checks_requests.py")]


def main() -> int:
    """The exit code of the checks."""
    arguments = ["-q", "-n", "0", *sys.argv[1:], *CHECKS]
    if "MUHGPT_VLLM_URL" in os.environ:
        return pytest.main(arguments)
    with serving() as url:
        os.environ |= {"MUHGPT_VLLM_URL": url, "MUHGPT_VLLM_MODEL": str(model())}
        return pytest.main(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
