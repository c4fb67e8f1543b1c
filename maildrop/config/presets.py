"""What is known of common relays: a preset fills the keys of ``[relays.NAME]`` that are not written there.

Values are those a person would write. A figure is here only if it keeps mails from being refused or an account from
being throttled; what a server announces itself (SIZE, RCPTMAX) is left to it unless the provider says less elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Microsoft's limits of SMTP AUTH client submission: three connections at a time (else 432 4.3.2), 30 messages a
    # minute, 500 recipients a message unless the mailbox is set otherwise; SIZE is 157,286,400.
    "microsoft365": {
        "host": "smtp.office365.com",
        "port": 587,
        "tls": "starttls",
        "connections": 3,
        "rate": "30/min",
        "recipients_per_message": 500,
        "max_message_size": "150MiB",
    },
    # Google Workspace: 2,000 messages a day (500 on personal and trial accounts: write rate = "500/day"), then 550
    # 5.4.5; 100 recipients a message over SMTP. "25 MB" is without base64: the server's SIZE is the figure that counts.
    "gmail": {
        "host": "smtp.gmail.com",
        "port": 587,
        "tls": "starttls",
        "rate": "2000/day",
        "recipients_per_message": 100,
    },
    # Google's SMTP relay service for a whole domain: 10,000 recipients a day and user, 100 recipients a transaction.
    "gmail-relay": {
        "host": "smtp-relay.gmail.com",
        "port": 587,
        "tls": "starttls",
        "recipients_per_message": 100,
    },
    # Amazon SES: 50 recipients a message, 40 MB with base64. The host has the region in its name, and the rate is each
    # account's own (the console shows it): both are for the user to write.
    "ses": {
        "port": 587,
        "tls": "starttls",
        "recipients_per_message": 50,
        "max_message_size": "40MiB",
    },
    # A Postfix of one's own: smtpd_recipient_limit is 1,000, smtpd_client_connection_count_limit 50; 20 connections are
    # what one Postfix opens to another (default_destination_concurrency_limit).
    "postfix": {
        "connections": 20,
        "recipients_per_message": 1000,
    },
    # Exchange Server, receive connectors as installed: MaxInboundConnectionPerSource 20, MaxRecipientsPerMessage 200,
    # ConnectionTimeout 10 minutes.
    "exchange": {
        "connections": 20,
        "session": "9m",
        "recipients_per_message": 200,
    },
}


def filled(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the preset of a table adds to it; nothing for a preset that is not known."""
    preset = table.get("preset")
    known = PRESETS.get(preset, {}) if isinstance(preset, str) else {}
    return {key: value for key, value in known.items() if key not in table}
