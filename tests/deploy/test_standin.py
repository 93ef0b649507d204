"""What the stand-in makes of the manifests: addresses, paths, and the command of a container."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.conftest import rendered
from tests.deploy.smoke.standin.engine import Engine
from tests.deploy.smoke.standin.network import Names
from tests.deploy.smoke.standin.pod import Pod

SECRETS = {name: {"tls.crt": b"c", "tls.key": b"k", "ca.crt": b"a"} for name in ("edge-tls", "auth-tls")}
URL = {"auth-database": {"url": b"postgresql://auth:5432@postgres:5432/auth"}}


def pod(name: str, folder: Path, engine: Engine | None = None) -> Pod:
    """The second replica of one service of the overlay `local`."""
    manifests = rendered("local")
    names = Names(manifests, {"auth": 2, "quota": 2, "inference": 2, "edge": 2, "postgres": 1})
    secrets = SECRETS | URL
    return Pod(manifests, manifests.workload(name), 2, names=names, secrets=secrets, folder=folder, engine=engine)


def test_a_process_listens_at_its_own_address_and_reads_its_files_below_the_folder(tmp_path: Path) -> None:
    edge = pod("edge", tmp_path)
    command, environment = edge.invocation(edge.workload.containers[0])
    assert command[1:] == ["-m", "services.edge.main"]
    assert environment["MUHGPT_EDGE_LISTEN"] == "127.0.14.2:8000"
    assert environment["MUHGPT_EDGE_AUTH_ADDRESS"] == "127.0.11.1:7000,127.0.11.2:7000"
    assert (Path(environment["MUHGPT_EDGE_TLS_DIRECTORY"]) / "tls.key").read_bytes() == b"k"
    assert environment["MUHGPT_EDGE_TLS_DIRECTORY"].startswith(str(tmp_path))


def test_names_are_resolved_and_what_looks_like_one_is_not(tmp_path: Path) -> None:
    auth = pod("auth", tmp_path)
    environment = auth.environment(auth.workload.containers[0])
    assert environment["MUHGPT_AUTH_DATABASE_URL"] == "postgresql://auth:5432@127.0.10.1:5432/auth"


def test_a_container_runs_as_the_manifest_says_and_its_secrets_are_in_no_command(tmp_path: Path) -> None:
    auth = pod("auth", tmp_path, Engine("docker"))
    command, environment = auth.invocation(auth.workload.containers[0])
    assert command[:2] == ["docker", "run"]
    for option in ("--read-only", "--cap-drop=ALL", "--user=10001:10001", "--network=host", "--tmpfs=/tmp"):
        assert option in command
    assert f"--volume={tmp_path}/auth-2/run/muhgpt/tls:/run/muhgpt/tls:ro" in command
    assert command[-4:] == ["localhost/muhgpt/auth:dev", "python", "-m", "services.auth.main"]
    assert environment["MUHGPT_AUTH_TLS_DIRECTORY"] == "/run/muhgpt/tls"
    assert "--env=MUHGPT_AUTH_DATABASE_URL" in command
    assert not any("postgresql://" in word for word in command)
