"""Relays for the tests of commands: scripted servers, and certificates for each way to be wrong."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import trustme

NO_TLS = """\
S: 220 relay.example ESMTP
C: EHLO *
S: 250-relay.example
S: 250-PIPELINING
S: 250 SIZE 50000000
"""
BYE = "C: QUIT\nS: 221 bye\n"
STARTTLS = """\
S: 220 relay.example ESMTP
C: EHLO *
S: 250-relay.example
S: 250 STARTTLS
C: STARTTLS
S: 220 go ahead
"""
INSIDE = """\
tls {certificate}
C: EHLO *
S: 250-relay.example
S: 250-PIPELINING
S: 250-8BITMIME
S: 250-AUTH PLAIN LOGIN
S: 250 SIZE 50000000
"""
LOGIN = STARTTLS + INSIDE + "C: AUTH PLAIN *\n"


def inside(certificate: str = "good", *, login: bool = True) -> str:
    """Return a session up to AUTH, or to EHLO without a login."""
    return (LOGIN if login else STARTTLS + INSIDE).format(certificate=certificate)


class Authority:
    """One that a client may trust, and the certificates of servers by name."""

    def __init__(self) -> None:
        """Issue them all."""
        authority, stranger = trustme.CA(organization_name="Trust & Co"), trustme.CA()
        now = datetime.now(UTC)
        spans = {"good": (-1, 90.5), "soon": (-1, 10.5), "expired": (-20, -10)}
        issued = {
            name: authority.issue_cert(
                "localhost", not_before=now + timedelta(days=begin), not_after=now + timedelta(days=end)
            )
            for name, (begin, end) in spans.items()
        }
        issued["elsewhere"] = authority.issue_cert("elsewhere.example")
        issued["self-signed"] = stranger.issue_cert("localhost")
        self._issued = issued
        self.pem = authority.cert_pem.bytes()
        self.servers: dict[str, ssl.SSLContext] = {}
        for name, certificate in issued.items():
            self.servers[name] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)

    def chain(self, name: str) -> bytes:
        """Return a server's certificate as PEM."""
        return self._issued[name].cert_chain_pems[0].bytes()
