"""A handshake that a certificate's owner has with itself, in memory, before peers see the certificate."""

from __future__ import annotations

import ssl
from pathlib import Path


class NotUsable(Exception):
    """The files would not be accepted by peers. The message says why, without naming the files' place."""


def rehearse(certificate: Path, key: Path, authority: bytes, name: str) -> float:
    """Plays both sides of mutual TLS 1.3 with these files; returns when the certificate ends, in Unix seconds.

    Raises NotUsable when the key is another certificate's, the chain does not lead to the authority, the time has not
    come or is over, or the certificate is not for the DNS name `name`.
    """
    try:
        server = _context(ssl.PROTOCOL_TLS_SERVER, certificate, key, authority)
        client = _context(ssl.PROTOCOL_TLS_CLIENT, certificate, key, authority)
        client.hostname_checks_common_name = False
        return _shake_hands(server, client, name)
    except ssl.SSLCertVerificationError as error:
        raise NotUsable(error.verify_message) from None
    except ssl.SSLError as error:
        raise NotUsable(_plain(error)) from None
    except OSError as error:  # exchanged or removed since it was read
        raise NotUsable(f"{error.filename or 'a file'} cannot be read ({error.strerror})") from None


def _context(protocol: int, certificate: Path, key: Path, authority: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # as gRPC does: any authority given is trusted
    try:
        context.load_verify_locations(cadata=authority.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise NotUsable("ca.crt holds no PEM certificate") from None
    context.load_cert_chain(certificate, key, password=_no_password)
    return context


def _shake_hands(server_context: ssl.SSLContext, client_context: ssl.SSLContext, name: str) -> float:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    _step(client)  # the client's first message
    _step(server)  # the server's certificate
    _step(client)  # checks it; sends its own
    _step(server)  # checks that
    shown = client.getpeercert()
    assert shown is not None, "verified above"
    # Servers know callers by whole names; a wildcard would do for OpenSSL, and for gRPC's clients.
    if ("DNS", name) not in shown.get("subjectAltName", ()):
        raise NotUsable(f"the certificate does not name {name} itself; a wildcard is not enough")
    return float(ssl.cert_time_to_seconds(str(shown["notAfter"])))


def _step(side: ssl.SSLObject) -> None:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    raise NotUsable("tls.key is encrypted")


def _plain(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "tls.key is not the key of tls.crt"
    if error.reason in (None, "NO_START_LINE", "PEM_LIB", "BAD_BASE64_DECODE"):
        return "tls.crt or tls.key is not in PEM form"
    return str(error.reason).replace("_", " ").lower()
