"""The relays of the configuration: each ``[relays.NAME]`` table becomes a ``RelaySettings``.

What only several keys together can get wrong is found here, and said together with everything else. Knows nothing of
relays at work.
"""

from __future__ import annotations

import ssl

from maildrop.config.credentials import credentials_of
from maildrop.config.relay_table import RelayTable
from maildrop.config.values import ReportProblem
from maildrop.delivery.relay_settings import RelaySettings, tls_context
from maildrop.smtp import Security, Timeouts

_PORTS = {Security.STARTTLS: 587, Security.IMPLICIT: 465, Security.OPPORTUNISTIC: 25, Security.NONE: 25}


def relay_of(name: str, table: RelayTable, hostname: str, *, secrets: bool, problem: ReportProblem) -> RelaySettings:
    """Return what is meant by a table; every mistake goes to ``problem``."""
    key = f"relays.{name}"
    port = table.port if table.port is not None else _PORTS[table.tls]
    credentials = None
    if table.auth is not None:
        credentials = credentials_of(name, table, table.auth, port=port, secrets=secrets, problem=problem)
    settings = RelaySettings(
        name=name,
        host=table.host,
        port=port,
        security=table.tls,
        hostname=hostname,
        ca_file=table.ca_file,
        credentials=credentials,
        plaintext_auth=table.auth is not None and table.auth.plaintext,
        connections=table.connections,
        messages_per_connection=table.messages_per_connection,
        idle_seconds=table.idle,
        session_seconds=table.session,
        recipients_per_message=table.recipients_per_message,
        max_message_octets=table.max_message_size,
        in_doubt=table.in_doubt,
        timeouts=Timeouts(**table.timeouts.model_dump()),
    )
    try:
        tls_context(settings)
    except OSError as error:
        what = "no certificate is in it" if isinstance(error, ssl.SSLError) else error.strerror
        problem(f"{key}.ca_file", f"{table.ca_file}: {what}", "name a file of PEM certificates")
    return settings
