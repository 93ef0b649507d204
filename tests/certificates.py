"""A certificate authority for tests, and directories as services read them: tls.crt, tls.key, ca.crt (docs/tls.md)."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DOMAIN = "muhgpt.internal"
ROLES = ("edge", "auth", "quota", "inference", "operator")
BACKDATED = timedelta(hours=1)  # certificates begin this long ago: clocks differ
DATA = "..data"  # the link that Kubernetes swaps


@dataclass(frozen=True)
class Certificate:
    """One identity as PEM: what a Secret of type kubernetes.io/tls holds, with ca.crt as cert-manager adds it."""

    certificate: bytes
    key: bytes
    authority: bytes

    def files(self) -> dict[str, bytes]:
        """The directory's files, or the Secret's data, by name."""
        return {"tls.crt": self.certificate, "tls.key": self.key, "ca.crt": self.authority}


class Authority:
    """Signs certificates. Two with the same name are strangers to each other: their keys differ."""

    def __init__(self, name: str = "MUHGPT test authority", *, days: float = 30.0) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, days: float = 1.0, alternative_names: bool = True) -> Certificate:
        """A certificate with these DNS names, good for `days` from now; negative: it expired so long ago. Without
        `alternative_names` the first is its common name, as certificates had it long ago, and nothing else."""
        key = ec.generate_private_key(ec.SECP256R1())
        ends = datetime.now(UTC) + timedelta(days=days)
        begins = min(datetime.now(UTC), ends) - BACKDATED
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if alternative_names:
            shown = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(shown, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Certificate(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            self.pem,
        )


def certificate(role: str, authority: Authority, *, days: float = 1.0) -> Certificate:
    """The certificate of a service's or the operator's role: its only name is `<role>.muhgpt.internal`."""
    if role not in ROLES:
        raise ValueError(f"{role!r} is no role; one of {', '.join(ROLES)}")
    return authority.issue(f"{role}.{DOMAIN}", days=days)


def write_directory(
    path: Path, role: str, authority: Authority, *, days: float = 1.0, trust: Authority | None = None
) -> Path:
    """Writes a role's files to a directory, or exchanges those there; gives the directory.

    days < 0: expired. `trust`: another authority that its owner believes in than the one that signed its certificate.
    """
    files = certificate(role, authority, days=days).files()
    if trust is not None:
        files["ca.crt"] = trust.pem
    return write_files(path, files)


def write_files(path: Path, files: dict[str, bytes]) -> Path:
    """Writes as the kubelet does for a Secret's volume: `name` → `..data/name`, `..data` → a new directory, swapped at
    once by renaming a link over it; what was there before is removed afterwards."""
    path.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=path))
    for name, content in files.items():
        (fresh / name).write_bytes(content)
        (fresh / name).chmod(0o600 if name.endswith(".key") else 0o644)
    old = (path / DATA).resolve() if (path / DATA).is_symlink() else None
    scratch = path / "..data_tmp"
    scratch.symlink_to(fresh.name)
    os.replace(scratch, path / DATA)
    for name in files:
        if not (path / name).is_symlink():
            (path / name).symlink_to(f"{DATA}/{name}")
    if old is not None:
        shutil.rmtree(old)
    return path


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
