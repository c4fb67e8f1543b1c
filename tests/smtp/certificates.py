"""The certificates that scripted servers show, and versions of TLS that nobody should speak any more."""

from __future__ import annotations

import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime

import trustme


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The servers' contexts by name, the authority they are from, and the context of a client that trusts it."""

    servers: dict[str, ssl.SSLContext]
    trusting: ssl.SSLContext
    authority: bytes  # PEM


def make_certificates() -> Certificates:
    """Make certificates for localhost: good, for another host, expired, self-signed (from a stranger)."""
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
    return Certificates(servers=servers, trusting=trusting, authority=authority.cert_pem.bytes())
