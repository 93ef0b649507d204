"""A real vLLM on the CPU with the tiny model, below .vllm/: about seven minutes and 4 GB when it is not there yet."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KEPT = ROOT / ".vllm"
VERSION = "0.32.0"
START_TIMEOUT = 300.0  # seconds
# Builds with CUDA, which keep transformers from being imported on a machine without.
UNWANTED = ("torchvision", "torchaudio", "torchcodec")
OPTIONS = (
    *("--served-model-name", "tiny", "--host", "127.0.0.1", "--max-model-len", "1024", "--max-num-seqs", "16"),
    # bfloat16 dies of SIGILL on some CPUs.
    *("--enforce-eager", "--dtype", "float32", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
)
SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


def python() -> Path:
    """The interpreter of the environment, made when it is not there."""
    place, made = KEPT / "env", KEPT / "env" / "made"
    found = place / "bin" / "python"
    if not made.exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(found), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "-r", str(HERE / "requirements.txt")], check=True)
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", *UNWANTED], check=True)
        _name_it_vllm(found)
        made.touch()
    return found


def _name_it_vllm(found: Path) -> None:
    """vLLM looks its own version up under the name vllm, and takes the platform from it."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([str(found), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    folder = Path(packages) / f"vllm-{VERSION}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


def model() -> Path:
    """The tiny model's directory, made when it is not there."""
    place = KEPT / "tiny"
    if not (place / "model.safetensors").exists():
        subprocess.run([str(python()), str(HERE / "tiny_model.py"), str(place)], check=True)
    return place


@contextlib.contextmanager
def serving(*options: str) -> Iterator[str]:
    """A running server's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(python().with_name("vllm")), "serve", str(model()), "--port", str(port), *OPTIONS, *options]
    with (KEPT / "log").open("w") as log:
        environment = {**os.environ, **SURROUNDINGS}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(process, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):  # its workers are in its session
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=2):
            return
        time.sleep(1)
    raise SystemExit(f"error: vLLM did not start; its words are in {KEPT / 'log'}")
