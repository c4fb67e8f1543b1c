"""What a person writes in ``maildropd.toml``: one model for each table, each key with its meaning.

The descriptions are what ``maildropd config`` and ``maildropd schema config`` show. Durations are seconds after
validation, sizes octets. Knows nothing of files, secrets or relays at work.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal

from maildrop.log import LogFormat, LogLevel
from maildrop.mail.envelope import InDoubt, Partial
from maildrop.mail.pickup import Dialect
from maildrop.schema import BeforeValidator, Duration, Field, Model, WithJsonSchema, invalid, number_or_text
from maildrop.smtp import Security
from maildrop.spool.intake import Mode
from maildrop.spool.layout import Settling


def _octets(value: object) -> object:
    """Read ``"50MiB"`` or a number of octets."""
    if not isinstance(value, str):
        return value
    for unit, factor in (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)):
        number = value.strip().removesuffix(unit).strip()
        if value.strip().endswith(unit) and number.isdecimal():
            return int(number) * factor
    raise invalid('is not a size; expected a number of octets or text such as "64KiB", "50MiB"')


def _fraction(value: object) -> object:
    """Read ``"1%"`` or a fraction from 0 to 1."""
    if isinstance(value, str):
        number = value.strip().removesuffix("%")
        if value.strip().endswith("%") and number.replace(".", "", 1).isdecimal():
            return float(number) / 100
        raise invalid('is not a share; expected text such as "1%" or a fraction such as 0.01')
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _path(value: object) -> object:
    """Read the name of a file or folder: no name that a person means has a control character."""
    if isinstance(value, str) and not (value and value.isprintable()):
        raise invalid("is not a path: it is empty or has a control character")
    return value


def _absolute(value: object) -> object:
    if isinstance(value, str) and not value.startswith("/"):
        raise invalid("must be an absolute path, such as /var/spool/maildropd")
    return _path(value)


def _name(value: object) -> object:
    """Read a host's name or address: it becomes part of commands and header fields."""
    if isinstance(value, str) and not _NAME.fullmatch(value):
        raise invalid('is not a host name or address; expected one such as "mail.example.com" or "192.0.2.7"')
    return value


def _selector(value: object) -> object:
    """Read the name of a key in the DNS (RFC 6376 3.1)."""
    if isinstance(value, str) and not _SELECTOR.fullmatch(value):
        raise invalid('is not a selector; expected letters, digits, hyphens and dots, such as "mail2026"')
    return value


def _command(value: object) -> object:
    """Read a program and its arguments, as one text or as a list."""
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError:
        raise invalid("has a quote that is not closed") from None
    if isinstance(words, list) and not (words and all(word and "\0" not in word for word in map(str, words[:1]))):
        raise invalid("names no program")
    return value


def _texts(value: object) -> object:
    """Read one text or a list of texts."""
    return [value] if isinstance(value, str) else value


_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?|\[?[0-9A-Fa-f:.]{2,45}\]?")
_SELECTOR = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62}){0,3}")

Path = Annotated[str, BeforeValidator(_path)]
AbsolutePath = Annotated[str, BeforeValidator(_absolute)]
HostName = Annotated[str, BeforeValidator(_name)]
Wait = Annotated[Duration, Field(gt=0)]  # without a pause a deferred job would keep a relay busy for nothing
Octets = Annotated[int, BeforeValidator(_octets), Field(ge=1), number_or_text("[0-9]+ *[KMG]iB", minimum=1)]
Fraction = Annotated[
    float, BeforeValidator(_fraction), Field(ge=0, lt=1), number_or_text(r"[0-9]+(\.[0-9]+)?%", minimum=0)
]
_LIST: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
Texts = Annotated[list[str], BeforeValidator(_texts), WithJsonSchema({"anyOf": [{"type": "string"}, _LIST]})]
Loose = Field(strict=False)  # enumerations are written as text


class SpoolTable(Model):
    """``[spool]``: where the jobs live."""

    path: Annotated[AbsolutePath, Field(description="the spool; one directory, one filesystem; absolute")]
    volatile: Annotated[bool, Field(description="allow a spool that a reboot wipes (tmpfs)")] = False
    min_free: Annotated[Fraction, Field(description="free space below which nothing new is claimed")] = 0.01


class IntakeTable(Model):
    """``[intake]``: when a drop is complete, and its limits."""

    mode: Annotated[Mode, Loose, Field(description="auto, rename, marker or quiet: how producers say 'complete'")] = (
        Mode.AUTO
    )
    quiet_seconds: Annotated[Duration, Field(description="how long nothing may have changed (quiet rule)")] = 2.0
    rescan_seconds: Annotated[Duration, Field(gt=0, description="how often incoming/ is listed without an event")] = 5.0
    incomplete_after: Annotated[Duration, Field(description="after this what is no job goes to failed/")] = 3600.0
    eml: Annotated[bool, Field(description="take bare NAME.eml files (pickup folder)")] = True
    eml_dialect: Annotated[Dialect, Loose, Field(description="auto, plain, or iis (dot-stuffed)")] = Dialect.AUTO
    max_envelope: Annotated[Octets, Field(description="octets of envelope.toml")] = 64 * 1024
    max_recipients: Annotated[int, Field(ge=1, description="recipients of one job")] = 1000
    max_files: Annotated[int, Field(ge=1, description="files of one job")] = 100
    max_message: Annotated[Octets, Field(description="octets of one message")] = 50 * 1024 * 1024


class DefaultsTable(Model):
    """``[defaults]``: what an envelope that says nothing gets."""

    author: Annotated[str | None, Field(alias="from", description="author of jobs without 'from'")] = None
    reply_to: Annotated[Texts, Field(description="Reply-To of jobs without one")] = []
    charset: Annotated[str, Field(description="charset of text files")] = "utf-8"
    in_doubt: Annotated[
        InDoubt | None, Loose, Field(description="resend, hold or assume-sent; else the relay's own")
    ] = None
    partial: Annotated[Partial, Loose, Field(description="deliver or all-or-nothing")] = Partial.DELIVER
    message_id_domain: Annotated[HostName | None, Field(description="right side of Message-IDs; else the hostname")] = (
        None
    )
    hostname: Annotated[HostName | None, Field(description="the name said in EHLO; else this machine's")] = None
    text_from_html: Annotated[bool, Field(description="make a plain text from HTML that comes alone (extra html)")] = (
        False
    )


class DkimTable(Model):
    """``[dkim]``: for whom mails are signed; the private key comes from exactly one place."""

    selector: Annotated[
        str, BeforeValidator(_selector), Field(description="the DNS record is SELECTOR._domainkey.DOMAIN")
    ]
    domains: Annotated[Texts, Field(min_length=1, description="authors of these and of domains below them")]
    key_credential: Annotated[Path | None, Field(description="name of a systemd credential")] = None
    key_file: Annotated[Path | None, Field(description="PEM file, readable by the daemon alone")] = None
    key_command: Annotated[
        str | list[str] | None, BeforeValidator(_command), Field(description="program that prints it; no shell")
    ] = None
    key_env: Annotated[str | None, Field(description="environment variable")] = None


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


class AuthTable(Model):
    """``[relays.NAME.auth]``: who we are there; the password comes from exactly one place."""

    user: Annotated[str, Field(min_length=1, description="user name")]
    password_credential: Annotated[Path | None, Field(description="name of a systemd credential")] = None
    password_file: Annotated[Path | None, Field(description="file, readable by the daemon alone")] = None
    password_command: Annotated[
        str | list[str] | None, BeforeValidator(_command), Field(description="program that prints it; no shell")
    ] = None
    password_env: Annotated[str | None, Field(description="environment variable")] = None
    mechanisms: Annotated[Texts, Field(description="only these, e.g. PLAIN, LOGIN")] = []
    plaintext: Annotated[bool, Field(description="allow AUTH without TLS; only for a loopback host")] = False


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


class RouteTable(Model):
    """``[[routes]]``: globs, and the relays for what they match, best first."""

    sender: str = "*"
    recipient: str = "*"
    job: str = "*"
    relays: Annotated[Texts, Field(min_length=1)]


class RetryTable(Model):
    """``[retry]``: when a deferred job is tried again."""

    schedule: Annotated[list[Wait], Field(min_length=1, description="waits between attempts; the last repeats")] = [
        60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
    ]  # fmt: skip
    give_up: Annotated[Duration, Field(description="after this a deferred job fails")] = 5 * 86400.0
    jitter: Annotated[float, Field(ge=0, lt=1, description="each wait is varied by this share")] = 0.1


class SettleTable(Model):
    """``[settle]``: how finished jobs are kept."""

    layout: Annotated[Settling, Loose, Field(description="flat, or daily: sent/2026-11-23/NAME")] = Settling.FLAT
    transcript: Annotated[Literal["failed", "always", "never"], Field(description="when the dialog is kept")] = "failed"


class LogTable(Model):
    """``[log]``: the log on standard error."""

    format: Annotated[LogFormat, Loose, Field(description="auto, console, json or journal")] = LogFormat.AUTO
    level: Annotated[LogLevel, Loose, Field(description="debug, info, warning or error")] = LogLevel.INFO


class Document(Model):
    """The whole file."""

    spool: SpoolTable
    intake: IntakeTable = IntakeTable()
    defaults: DefaultsTable = DefaultsTable()
    dkim: DkimTable | None = None
    relays: Annotated[dict[str, RelayTable], Field(min_length=1)]
    routes: list[RouteTable] = []
    retry: RetryTable = RetryTable()
    settle: SettleTable = SettleTable()
    log: LogTable = LogTable()


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    return Document.model_json_schema(by_alias=True)
