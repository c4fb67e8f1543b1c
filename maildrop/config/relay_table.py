"""What a person writes about a relay: ``[relays.NAME]`` and the tables in it, each key with its meaning.

Knows nothing of files, secrets or relays at work.
"""

from __future__ import annotations

from typing import Annotated

from maildrop.config.auth_table import AuthTable
from maildrop.config.values import HostName, Loose, Octets, Path
from maildrop.mail.envelope import InDoubt
from maildrop.schema import Duration, Field, Model
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


class RelayTable(Model):
    """``[relays.NAME]``: a next hop."""

    host: Annotated[HostName, Field(description="name or address")]
    port: Annotated[int | None, Field(ge=1, le=65535, description="587; 465 with implicit TLS; 25 with none")] = None
    tls: Annotated[Security, Loose, Field(description="starttls, implicit, opportunistic or none")] = Security.STARTTLS
    ca_file: Annotated[Path | None, Field(description="certificates to trust instead of the system's")] = None
    connections: Annotated[int, Field(ge=1, le=1000, description="sessions at the same time")] = 8
    messages_per_connection: Annotated[int, Field(ge=1, description="then a new session is opened")] = 100
    idle: Annotated[Duration, Field(description="how long an unused session is kept")] = 30.0
    session: Annotated[Duration, Field(description="how old a session may grow")] = 900.0
    recipients_per_message: Annotated[int, Field(ge=1, description="more are split into transactions")] = 100
    max_message_size: Annotated[Octets | None, Field(description="octets; else what the relay's SIZE says")] = None
    in_doubt: Annotated[InDoubt, Loose, Field(description="resend, hold or assume-sent")] = InDoubt.RESEND
    timeouts: TimeoutsTable = TimeoutsTable()
    auth: AuthTable | None = None
