"""What a relay is meant to be: ``[relays.NAME]`` as values, and the endpoint and TLS context that they make.

Knows nothing of a relay at work; that is ``relay``'s.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum

from maildrop.delivery.rate import Rate
from maildrop.mail.envelope import InDoubt
from maildrop.smtp import CredentialsSource, Endpoint, Security, Timeouts


class Protocol(StrEnum):
    """What is spoken."""

    SMTP = "smtp"
    LMTP = "lmtp"  # a reply for each recipient (RFC 2033)
    MX = "mx"  # SMTP, to the servers that the DNS names for each recipient's domain


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """``[relays.NAME]``: where it is, how to speak to it, and its limits (seconds, octets).

    There is either a ``host`` with a ``port``, or a ``socket``, or with ``mx`` just a port. ``stamps`` tell whether the
    files named here are still the ones that were read: settings with other stamps are other settings.
    """

    name: str
    security: Security
    hostname: str
    host: str = ""
    port: int = 0
    socket: str | None = None
    protocol: Protocol = Protocol.SMTP
    ca_file: str | None = None
    pins: frozenset[bytes] = frozenset()
    client_certificate: str | None = None
    client_key: str | None = None
    stamps: tuple[object, ...] = ()
    credentials: CredentialsSource | None = None
    plaintext_auth: bool = False
    connections: int = 8
    messages_per_connection: int = 100
    idle_seconds: float = 30.0
    session_seconds: float = 900.0
    rate: Rate | None = None
    recipients_per_message: int = 100
    max_message_octets: int | None = None
    in_doubt: InDoubt = InDoubt.RESEND
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.socket if self.socket is not None else f"{self.host or self.protocol}:{self.port}"


class KeyIsEncrypted(ValueError):
    """The private key wants a pass phrase, and nobody is there to type it."""


def tls_context(settings: RelaySettings) -> ssl.SSLContext | None:
    """Make the TLS context: TLS >= 1.2, certificate and name verified unless it is ``opportunistic``.

    Raises OSError (an ssl.SSLError for a file that does not hold what it should) and KeyIsEncrypted.
    """
    if settings.security is Security.NONE:
        return None
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.security is Security.OPPORTUNISTIC:  # better than plain text, no protection against a forged server
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_certificate is not None:
        context.load_cert_chain(settings.client_certificate, settings.client_key, password=_refuse_to_ask)
    return context


def _refuse_to_ask() -> str:
    """Stand where OpenSSL would ask on the terminal."""
    raise KeyIsEncrypted("the key is encrypted")


def endpoint_of(settings: RelaySettings) -> Endpoint:
    """Return the relay as a place to talk to; raises as `tls_context` does.

    With ``mx`` the host is a mere word: there is a place only for each domain.
    """
    return Endpoint(
        relay=settings.name,
        host="mx" if settings.protocol is Protocol.MX else settings.host,
        port=settings.port,
        socket=settings.socket,
        security=settings.security,
        hostname=settings.hostname,
        source=settings.credentials,
        plaintext_auth=settings.plaintext_auth,
        tls=tls_context(settings),
        pins=settings.pins,
        timeouts=settings.timeouts,
        lmtp=settings.protocol is Protocol.LMTP,
    )
