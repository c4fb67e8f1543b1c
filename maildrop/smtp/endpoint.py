"""Whom to talk to and how long to wait: a relay as the session sees it. RFC 5321 section 4.5.3.2 (timeouts)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from maildrop.smtp.credentials import Credentials, CredentialsSource
from maildrop.smtp.reply import Stage
from maildrop.smtp.steps import Security

# STARTTLS and RSET are answered as quickly as EHLO and MAIL; RFC 5321 gives them no figures of their own.
_DEADLINES = {
    Stage.TLS: "tls",
    Stage.GREETING: "greeting",
    Stage.EHLO: "ehlo",
    Stage.STARTTLS: "ehlo",
    Stage.AUTH: "auth",
    Stage.MAIL: "mail",
    Stage.RCPT: "rcpt",
    Stage.DATA: "data",
    Stage.DATA_END: "data_end",
    Stage.BDAT: "data_end",
    Stage.RSET: "mail",
    Stage.QUIT: "quit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds, each for one whole reply; ``block`` for a slice of the message, ``transaction`` for MAIL to the end."""

    connect: float = 30
    greeting: float = 300
    tls: float = 60
    ehlo: float = 300
    auth: float = 300
    mail: float = 300
    rcpt: float = 300
    data: float = 120
    block: float = 180
    data_end: float = 600
    quit: float = 5
    transaction: float = 3600

    def seconds(self, stage: Stage) -> float:
        """Return how long the reply of a stage may take."""
        return float(getattr(self, _DEADLINES[stage]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A relay as a place to talk to; ``relay`` is its configured name, ``hostname`` what we call ourselves in EHLO.

    ``socket`` is the path of a unix socket, where there are no ``host`` and ``port``.
    """

    relay: str
    security: Security
    hostname: str
    host: str = ""
    port: int = 0
    addresses: tuple[str, ...] = ()  # where the host is, if somebody has looked it up already
    socket: str | None = None
    credentials: Credentials | None = None
    source: CredentialsSource | None = None  # where `connect` gets the credentials for each session
    plaintext_auth: bool = False
    tls: ssl.SSLContext | None = None
    pins: frozenset[bytes] = frozenset()  # SHA-256 of public keys, one of which has to be the server's
    timeouts: Timeouts = field(default_factory=Timeouts)
    lmtp: bool = False
    chunking: bool = True  # use BDAT where it is offered

    def __post_init__(self) -> None:
        """Refuse TLS without a context: verification is decided by whoever makes the context, not by an omission."""
        if self.security is not Security.NONE and self.tls is None:
            raise ValueError(f"security '{self.security}' needs an SSLContext")
        if bool(self.host) == (self.socket is not None):
            raise ValueError("an endpoint has either a host or a socket")

    def shown(self, address: str) -> str:
        """Return who was reached, for people: ``host [address]:port``, or the path of the socket."""
        return self.socket if self.socket is not None else f"{self.host} [{address}]:{self.port}"
