"""`python -m tests.deploy.smoke standin` or `cluster`: 0 when all is well, or when it says why it was skipped."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.deploy.rendered import kubectl
from tests.deploy.smoke.cluster import Cluster
from tests.deploy.smoke.site import Site
from tests.deploy.smoke.smoke import smoke
from tests.deploy.smoke.standin.site import StandIn

MEMORY = Path("/dev/shm")
ENOUGH = 2 << 30  # bytes


def prefer_memory() -> None:
    """Databases are kept in memory where they can be: a disk that others use stalls at times for more than a second,
    and the platform then says 503, as it should."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH:
        tempfile.tempdir = str(MEMORY)


async def run(site: Site) -> None:
    """Starts it, tries it, and ends it whatever happens."""
    try:
        await site.start()
        await smoke(site)
    except BaseException:
        if isinstance(site, StandIn):
            print(site.logs(), file=sys.stderr)  # noqa: T201
        raise
    finally:
        await site.stop()


def skipped(kind: str) -> str | None:
    """Why nothing can be tried here."""
    if kubectl() is None:
        return "kubectl is not installed, so the manifests cannot be rendered"
    if kind == "cluster" and not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG names no cluster; `make standin-smoke` tries the same on this machine"
    if kind == "standin" and sys.platform != "linux":
        return "only Linux answers on all of 127.0.0.0/8, which the stand-in takes for its pods"
    return None


def main() -> int:
    """Runs the one that the argument names."""
    kind = sys.argv[1] if len(sys.argv) == 2 else ""
    if kind not in ("standin", "cluster"):
        print("usage: python -m tests.deploy.smoke standin|cluster", file=sys.stderr)  # noqa: T201
        return 2
    if reason := skipped(kind):
        print(f"smoke: SKIPPED: {reason}")  # noqa: T201
        return 0
    prefer_memory()
    began = time.monotonic()
    asyncio.run(run(StandIn() if kind == "standin" else Cluster()))
    print(f"smoke: all is well, after {time.monotonic() - began:.0f} s")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
