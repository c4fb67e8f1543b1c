"""What a person writes in ``maildropd.toml``: one model for each table, each key with its meaning.

The descriptions are what ``maildropd config`` and ``maildropd schema config`` show. Durations are seconds after
validation, sizes octets. Knows nothing of files, secrets or relays at work.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from maildrop.config.relay_table import RelayTable
from maildrop.config.values import (
    AbsolutePath,
    Command,
    Fraction,
    HostName,
    Loose,
    Octets,
    Path,
    Selector,
    Texts,
    Wait,
)
from maildrop.log import LogFormat, LogLevel
from maildrop.mail.envelope import InDoubt, Partial
from maildrop.mail.pickup import Dialect
from maildrop.schema import Duration, Field, Model
from maildrop.spool.intake import Mode
from maildrop.spool.layout import Settling


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

    selector: Annotated[Selector, Field(description="the DNS record is SELECTOR._domainkey.DOMAIN")]
    domains: Annotated[Texts, Field(min_length=1, description="authors of these and of domains below them")]
    key_credential: Annotated[Path | None, Field(description="name of a systemd credential")] = None
    key_file: Annotated[Path | None, Field(description="PEM file, readable by the daemon alone")] = None
    key_command: Annotated[Command | None, Field(description="program that prints it; no shell")] = None
    key_env: Annotated[str | None, Field(description="environment variable")] = None


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
