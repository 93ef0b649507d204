"""Small programs that behave as services do: they write their address when they serve, end on SIGTERM, fail, or die."""

from __future__ import annotations

from pathlib import Path

from muhgpt_cli.local.data_dir import DataDir
from muhgpt_cli.local.service import ServiceProcess, python

SERVE_AT = """
import os, pathlib, signal, sys
def serve():
    path = pathlib.Path(os.environ["MUHGPT_DEMO_ADDRESS_FILE"])
    path.with_suffix(".tmp").write_text(os.environ.get("MUHGPT_DEMO_LISTEN", "127.0.0.1:1001"))
    path.with_suffix(".tmp").rename(path)
"""
SERVE = f"""{SERVE_AT}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
serve()
signal.sigwait([signal.SIGTERM])
print("leaving", flush=True)
"""
REFUSE = """
import sys
sys.stderr.write("error: setting MUHGPT_DEMO_COLOUR is missing\\n")
sys.exit(2)
"""
DIE = f"""{SERVE_AT}
serve()
print('{{"event": "about to die", "level": "error", "reason": "test"}}', flush=True)
os._exit(7)
"""
DEAF = f"""{SERVE_AT}
signal.signal(signal.SIGTERM, signal.SIG_IGN)
serve()
while True:
    signal.pause()
"""


def service(directory: Path, program: str, *, start_timeout: float = 20.0) -> ServiceProcess:
    """The program as the service `demo` of a data directory."""
    data_dir = DataDir(directory)
    data_dir.prepare()
    return ServiceProcess("demo", python("-c", program), {}, data_dir, start_timeout)
