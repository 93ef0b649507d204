"""A TLS directory is checked before peers see it, and read again when its files change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from servicekit.errors import StartupError
from servicekit.tls.directory import TlsDirectory
from tests.certificates import Authority, certificate, write_directory, write_files

AUTHORITY = Authority()
Files = dict[str, bytes]


def encrypted(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a password"),
    )


def good() -> Files:
    return certificate("edge", AUTHORITY).files()


WRONG: list[tuple[str, Callable[[], Files], str]] = [
    ("a file is missing", lambda: {k: v for k, v in good().items() if k != "ca.crt"}, "ca.crt cannot be read"),
    ("another role's", lambda: certificate("quota", AUTHORITY).files(), "not valid for 'edge.muhgpt.internal'"),
    ("a name under the role's", lambda: AUTHORITY.issue("a.edge.muhgpt.internal").files(), "not valid for"),
    ("a wildcard", lambda: AUTHORITY.issue("*.muhgpt.internal").files(), "a wildcard is not enough"),
    (
        "a common name alone",
        lambda: AUTHORITY.issue("edge.muhgpt.internal", alternative_names=False).files(),
        "not valid for",
    ),
    ("expired", lambda: certificate("edge", AUTHORITY, days=-1).files(), "certificate has expired"),
    ("another authority's", lambda: {**good(), "ca.crt": Authority().pem}, "unable to get local issuer certificate"),
    ("another key", lambda: {**good(), "tls.key": good()["tls.key"]}, "tls.key is not the key of tls.crt"),
    ("no certificate", lambda: {**good(), "tls.crt": b"certificate"}, "not in PEM form"),
    ("no key", lambda: {**good(), "tls.key": b"key"}, "not in PEM form"),
    ("no authority", lambda: {**good(), "ca.crt": b"authority \xff"}, "ca.crt holds no PEM certificate"),
    ("an empty authority", lambda: {**good(), "ca.crt": b""}, "ca.crt holds no PEM certificate"),
    ("a key with a password", lambda: {**good(), "tls.key": encrypted(good()["tls.key"])}, "tls.key is encrypted"),
]


@pytest.mark.parametrize(("files", "problem"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_what_peers_would_refuse_stops_the_start_and_says_why(
    tmp_path: Path, files: Callable[[], Files], problem: str
) -> None:
    write_files(tmp_path, files())
    with pytest.raises(StartupError, match=problem) as caught:
        TlsDirectory(tmp_path, "edge")
    assert f"{tmp_path} does not hold a certificate for edge.muhgpt.internal" in str(caught.value)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"nowhere .* tls.crt cannot be read \(No such file or directory\)"):
        TlsDirectory(tmp_path / "nowhere", "edge")


def test_one_certificate_may_name_several_roles(tmp_path: Path) -> None:
    write_files(tmp_path, AUTHORITY.issue("quota.muhgpt.internal", "edge.muhgpt.internal").files())
    assert TlsDirectory(tmp_path, "edge").current().certificate


def test_nothing_is_read_again_while_nothing_changed(tmp_path: Path) -> None:
    directory = TlsDirectory(write_directory(tmp_path, "edge", AUTHORITY), "edge")
    assert directory.current() is directory.current()


def test_files_swapped_as_kubernetes_does_are_in_force_at_once(tmp_path: Path) -> None:
    read: list[float] = []
    directory = TlsDirectory(
        write_directory(tmp_path, "edge", AUTHORITY), "edge", on_read=lambda identity: read.append(identity.expires)
    )
    before = directory.current()
    other = Authority()
    write_directory(tmp_path, "edge", other, days=3)
    after = directory.current()
    assert (after.authority, after.certificate != before.certificate, after.key != before.key) == (
        other.pem,
        True,
        True,
    )
    assert after.expires == expiry(after.certificate)
    assert read == [before.expires, after.expires]


def expiry(pem: bytes) -> float:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


def test_files_written_one_by_one_are_in_force_when_they_belong_together(tmp_path: Path) -> None:
    directory = TlsDirectory(write_directory(tmp_path, "edge", AUTHORITY), "edge")
    before = directory.current()
    new = certificate("edge", AUTHORITY)
    with capture_logs() as logs:
        replace(tmp_path / "tls.crt", new.certificate)
        assert directory.current() is directory.current() is before
        replace(tmp_path / "tls.key", new.key)
        assert directory.current().certificate == new.certificate
    assert [entry["event"] for entry in logs] == ["certificate_not_usable", "certificate_read"]
    assert logs[0]["problem"] == "tls.key is not the key of tls.crt"


def replace(path: Path, content: bytes) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_bytes(content)
    os.replace(scratch, path)


def test_what_cannot_be_used_is_logged_once_and_the_last_good_identity_stays(tmp_path: Path) -> None:
    directory = TlsDirectory(write_directory(tmp_path, "edge", AUTHORITY), "edge")
    before = directory.current()
    with capture_logs() as logs:
        write_directory(tmp_path, "edge", AUTHORITY, days=-1)
        assert all(directory.current() is before for _ in range(3))
        write_directory(tmp_path, "auth", AUTHORITY)
        assert all(directory.current() is before for _ in range(3))
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (tmp_path / name).unlink()
        assert all(directory.current() is before for _ in range(3))
    problems = [entry["problem"] for entry in logs]
    assert len(problems) == 3
    assert problems[0] == "certificate has expired"
    assert "auth.muhgpt.internal" not in problems[1]
    assert "edge.muhgpt.internal" in problems[1]
    assert "tls.crt cannot be read" in problems[2]
    write_directory(tmp_path, "edge", AUTHORITY)
    assert directory.current() is not before
