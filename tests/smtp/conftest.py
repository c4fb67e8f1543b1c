"""Scripted servers that end with their test, and the certificates they may show."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import trustme

from tests.smtp.scripted import ScriptedServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """One authority, the servers' contexts by name, and the context of a client that trusts the authority."""

    servers: dict[str, ssl.SSLContext]
    trusting: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """Certificates for localhost: good, for another host, expired, self-signed (from a stranger)."""
    authority, stranger = trustme.CA(), trustme.CA()
    issued = {
        "good": authority.issue_cert("localhost", "127.0.0.1"),
        "wrong-host": authority.issue_cert("elsewhere.example"),
        "expired": authority.issue_cert(
            "localhost", not_before=datetime(2019, 1, 1, tzinfo=UTC), not_after=datetime(2020, 1, 1, tzinfo=UTC)
        ),
        "self-signed": stranger.issue_cert("localhost"),
    }
    servers: dict[str, ssl.SSLContext] = {}
    for name, certificate in issued.items():
        servers[name] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
    servers["tls-1.2"] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued["good"].configure_cert(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for name, version in (("tls-1.0", ssl.TLSVersion.TLSv1), ("tls-1.1", ssl.TLSVersion.TLSv1_1)):
        servers[name] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued["good"].configure_cert(context)
        context.set_ciphers("ALL:@SECLEVEL=0")  # without which OpenSSL 3 does not speak them any more
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = version
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return Certificates(servers=servers, trusting=trusting)


StartServer = Callable[..., ScriptedServer]


@pytest.fixture
def start_server(certificates: Certificates) -> Iterator[StartServer]:
    """Start scripted servers that end with the test."""
    servers: list[ScriptedServer] = []

    def start(script: str, message: bytes = b"", **expected: bytes) -> ScriptedServer:
        servers.append(ScriptedServer(script, certificates.servers, {"message": message, **expected}))
        return servers[-1]

    yield start
    for server in servers:
        server.join()
