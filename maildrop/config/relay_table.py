"""What a person writes about a relay: ``[relays.NAME]`` and the tables in it, each key with its meaning.

Knows nothing of files, secrets or relays at work.
"""

from __future__ import annotations

from typing import Annotated, Any

from maildrop.config.auth_table import AuthTable
from maildrop.config.presets import PRESETS, filled
from maildrop.config.values import AbsolutePath, HostName, Loose, Octets, Path, Pins, RateText
from maildrop.delivery.relay_settings import Protocol
from maildrop.errors import did_you_mean, printable
from maildrop.mail.envelope import InDoubt
from maildrop.schema import (
    BeforeValidator,
    Duration,
    Field,
    Model,
    ModelWrapValidatorHandler,
    PrivateAttr,
    invalid,
    model_validator,
)
from maildrop.smtp import Security


class TimeoutsTable(Model):
    """``[relays.NAME.timeouts]``: absolute deadlines (RFC 5321 4.5.3.2)."""

    connect: Duration = 30.0
    greeting: Duration = 300.0
    tls: Duration = 60.0
    ehlo: Duration = 300.0
    auth: Duration = 300.0
    mail: Duration = 300.0
    rcpt: Duration = 300.0
    data: Duration = 120.0
    block: Duration = 180.0
    data_end: Duration = 600.0
    quit: Duration = 5.0
    transaction: Duration = 3600.0


_PORTS = {Security.STARTTLS: 587, Security.IMPLICIT: 465, Security.OPPORTUNISTIC: 25, Security.NONE: 25}
_LMTP_PORT = 24  # RFC 2033 5 forbids 25
_MX_PORT = 25


def _preset(value: object) -> object:
    """Read the name of a preset."""
    if isinstance(value, str) and value not in PRESETS:
        hint = did_you_mean(value, PRESETS) or f"there are {', '.join(PRESETS)}"
        raise invalid(f"'{printable(value)}' is not a preset; {hint}")
    return value


class RelayTable(Model):
    """``[relays.NAME]``: a next hop. A preset fills what is not written."""

    preset: Annotated[
        str | None,
        BeforeValidator(_preset),
        Field(description=f"what is not written is as {', '.join(PRESETS)} want it"),
    ] = None
    protocol: Annotated[Protocol, Loose, Field(description="smtp, lmtp, or mx: direct delivery")] = Protocol.SMTP
    host: Annotated[HostName | None, Field(description="name or address")] = None
    port: Annotated[
        int | None, Field(ge=1, le=65535, description="587; 465 with implicit TLS; 25 with none; 24 for LMTP")
    ] = None
    socket: Annotated[AbsolutePath | None, Field(description="unix socket, instead of a host; for LMTP")] = None
    tls: Annotated[
        Security | None,
        Loose,
        Field(description="starttls, implicit, opportunistic (default with mx) or none (over a socket)"),
    ] = None
    ca_file: Annotated[Path | None, Field(description="certificates to trust instead of the system's")] = None
    pin_sha256: Annotated[Pins, Field(description="public keys, one of which has to be the server's")] = []
    client_certificate: Annotated[Path | None, Field(description="PEM; shown to the server")] = None
    client_key: Annotated[Path | None, Field(description="PEM, if not in client_certificate; for the daemon alone")] = (
        None
    )
    connections: Annotated[int, Field(ge=1, le=1000, description="sessions at the same time")] = 8
    messages_per_connection: Annotated[int, Field(ge=1, description="then a new session is opened")] = 100
    idle: Annotated[Duration, Field(description="how long an unused session is kept")] = 30.0
    session: Annotated[Duration, Field(description="how old a session may grow")] = 900.0
    rate: Annotated[RateText | None, Field(description="transactions in any window, such as 30/min")] = None
    recipients_per_message: Annotated[int, Field(ge=1, description="more are split into transactions")] = 100
    max_message_size: Annotated[Octets | None, Field(description="octets; else what the relay's SIZE says")] = None
    in_doubt: Annotated[InDoubt, Loose, Field(description="resend, hold or assume-sent")] = InDoubt.RESEND
    timeouts: TimeoutsTable = TimeoutsTable()
    auth: AuthTable | None = None
    _from_preset: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="wrap")
    @classmethod
    def _fill(cls, raw: Any, validate: ModelWrapValidatorHandler[RelayTable]) -> RelayTable:
        known = filled(raw) if isinstance(raw, dict) else {}
        table = validate({**raw, **known} if known else raw)
        table._from_preset = frozenset(known)  # noqa: SLF001  # its own
        return table

    @property
    def from_preset(self) -> frozenset[str]:
        """The keys that the preset has filled."""
        return self._from_preset

    @property
    def security(self) -> Security:
        """What ``tls`` says or, where it says nothing, means."""
        if self.tls is not None:
            return self.tls
        if self.protocol is Protocol.MX:  # most servers have certificates that nobody could verify
            return Security.OPPORTUNISTIC
        return Security.STARTTLS if self.socket is None else Security.NONE

    @property
    def number(self) -> int:
        """The port that is written, or the one that goes with protocol and TLS."""
        if self.port is not None:
            return self.port
        if self.protocol is Protocol.MX:
            return _MX_PORT
        return _LMTP_PORT if self.protocol is Protocol.LMTP else _PORTS[self.security]
