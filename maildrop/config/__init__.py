"""Typed configuration: find, load, validate, describe, redact ``maildropd.toml``.

Strict: an unknown key, a wrong type, a missing secret are all reported at once, each with file, key, what was found
and what was expected. What ``load`` returns are the settings types of the packages below; none of them knows this
one. ``document`` is what a person writes, ``relays`` what is meant by a relay's table, ``secrets`` where
passwords and keys come from, ``signing`` who signs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from maildrop.config.description import describe
from maildrop.config.document import Document
from maildrop.config.relays import relay_of
from maildrop.config.signing import signer_of
from maildrop.config.tokens import rotation_notice
from maildrop.config.values import ReportProblem
from maildrop.delivery.mailing import MailingSettings
from maildrop.delivery.relay_settings import Protocol, RelaySettings
from maildrop.delivery.retry import RetrySettings
from maildrop.delivery.route import Route
from maildrop.delivery.senders import Accounts
from maildrop.errors import ConfigurationError, Problem, did_you_mean, printable
from maildrop.log import LogFormat, LogLevel
from maildrop.mail.address import AddressError, Mailbox, parse_mailbox, parse_mailbox_list
from maildrop.mail.charset import charset_fault
from maildrop.mail.dkim import Signer
from maildrop.mail.envelope import Defaults, Limits
from maildrop.schema import TomlError, read_toml, validate_in_part
from maildrop.spool.intake import IntakeSettings
from maildrop.spool.layout import Settling

__all__ = ["DEFAULT_PATH", "Config", "describe", "find", "load", "load_signer", "read"]

DEFAULT_PATH = "/etc/maildropd/maildropd.toml"

_MAX_OCTETS = 1024 * 1024
_LATER: dict[
    tuple[str, ...], set[str]
] = {  # keys of the specification that do not work yet: said so, rather than "unknown key"
    (): {"policy", "retention", "ledger", "report", "status"},
    ("settle",): {"keep_message"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration, as the daemon uses it."""

    path: str
    spool: str
    volatile: bool
    min_free: float
    intake: IntakeSettings
    mailing: MailingSettings
    relays: dict[str, RelaySettings]
    retry: RetrySettings
    layout: Settling
    transcript: str
    log_format: LogFormat
    log_level: LogLevel
    notices: tuple[tuple[str, str], ...] = ()  # relays, and what a person should know about each


def find(path: str | None) -> str:
    """Return the configuration file to use: the one given, else $MAILDROPD_CONFIG, else the system's."""
    return path or os.environ.get("MAILDROPD_CONFIG") or DEFAULT_PATH


def read(path: str) -> Document:
    """Read and validate the file without its secrets; raises ConfigurationError."""
    document, problems = _read(path)
    if document is None or problems:
        raise ConfigurationError(path, problems)
    return document


def _read(path: str) -> tuple[Document | None, list[Problem]]:
    """Return the document without what is wrong in it, or None if little is right, and every problem."""
    try:
        with open(path, "rb") as file:
            octets = file.read(_MAX_OCTETS + 1)
    except OSError as error:
        hint = "run 'maildropd init' to make one, or name it with --config FILE"
        return None, [Problem(where=printable(path), what=error.strerror or str(error), hint=hint)]
    try:
        raw = read_toml(octets, max_octets=_MAX_OCTETS)
    except TomlError as error:
        return None, [Problem(where=printable(path), what=str(error), hint="mend the line")]
    later = list(_take_later(raw, (), path))
    document, problems = validate_in_part(Document, raw, where=path)
    return document, later + problems


def load(path: str, *, secrets: bool = True) -> Config:
    """Read, validate and complete it, with the passwords unless ``secrets`` is off; raises ConfigurationError."""
    document, problems = _read(path)
    if document is None:
        raise ConfigurationError(path, problems)

    judged_keys = {found.where for found in problems}

    def problem(key: str, what: str, hint: str = "") -> None:
        if (where := f"{path}: {key}") not in judged_keys:  # what is wrong by itself is not missed as well
            problems.append(Problem(where=where, what=what, hint=hint))

    hostname = document.defaults.hostname or os.uname().nodename
    relays = {}
    for name, table in document.relays.items():
        judged = any(found.where.startswith(f"{path}: relays.{name}.auth") for found in problems)
        keys = {where.removeprefix(f"{path}: relays.{name}.") for where in judged_keys}
        relays[name] = relay_of(name, table, hostname, judged=keys, secrets=secrets and not judged, problem=problem)
    for number, route in enumerate(document.routes):
        for name in route.relays:
            if name not in relays:
                problem(f"routes[{number}].relays", f"no relay '{name}' is configured", did_you_mean(name, relays))
    defaults = _defaults(document, problem)
    signer = None
    if document.dkim is not None:
        judged = any(found.where.startswith(f"{path}: dkim") for found in problems)
        signer = signer_of(document.dkim, secrets=secrets and not judged, problem=problem)
    if problems:
        raise ConfigurationError(path, problems)
    direct = frozenset(name for name, relay in relays.items() if relay.protocol is Protocol.MX)
    mailing = replace(_mailing(document, defaults, hostname), signer=signer, direct=direct)
    return _config(path, document, relays, mailing)


def load_signer(path: str) -> Signer | None:
    """Return who signs, for one who needs no other secret; None if nobody does. Raises ConfigurationError."""
    table, problems = read(path).dkim, list[Problem]()

    def problem(key: str, what: str, hint: str) -> None:
        problems.append(Problem(where=f"{path}: {key}", what=what, hint=hint))

    signer = None if table is None else signer_of(table, secrets=True, problem=problem)
    if problems:
        raise ConfigurationError(path, problems)
    return signer


def _config(path: str, document: Document, relays: dict[str, RelaySettings], mailing: MailingSettings) -> Config:
    intake = document.intake
    return Config(
        path=path,
        spool=document.spool.path,
        volatile=document.spool.volatile,
        min_free=document.spool.min_free,
        intake=IntakeSettings(
            mode=intake.mode,
            quiet_seconds=intake.quiet_seconds,
            rescan_seconds=intake.rescan_seconds,
            incomplete_after_seconds=intake.incomplete_after,
            eml=intake.eml,
        ),
        mailing=mailing,
        relays=relays,
        retry=RetrySettings(
            schedule_seconds=tuple(document.retry.schedule),
            give_up_seconds=document.retry.give_up,
            jitter=document.retry.jitter,
        ),
        layout=document.settle.layout,
        transcript=document.settle.transcript,
        log_format=document.log.format,
        log_level=document.log.level,
        notices=tuple((name, text) for name, table in document.relays.items() if (text := rotation_notice(table.auth))),
    )


def _mailing(document: Document, defaults: Defaults, hostname: str) -> MailingSettings:
    intake = document.intake
    return MailingSettings(
        defaults=defaults,
        limits=Limits(
            envelope_octets=intake.max_envelope,
            recipients=intake.max_recipients,
            files=intake.max_files,
            message_octets=intake.max_message,
        ),
        dialect=intake.eml_dialect,
        domain=document.defaults.message_id_domain or hostname,
        relays=tuple(document.relays),
        routes=tuple(
            Route(sender=route.sender, recipient=route.recipient, job=route.job, relays=tuple(route.relays))
            for route in document.routes
        ),
        accounts=Accounts(
            logins={name: table.auth.user for name, table in document.relays.items() if table.auth is not None},
            signed_domains=() if document.dkim is None else tuple(document.dkim.domains),
        ),
    )


def _take_later(table: Any, place: tuple[str, ...], path: str) -> Iterator[Problem]:
    """Remove the keys that belong to a later version, so that they are reported once and in words of their own."""
    if not isinstance(table, dict):
        return
    for key in list(table):
        if key in _LATER.get(place, ()):
            del table[key]
            where = f"{path}: {'.'.join((*place, key))}"
            yield Problem(where=where, what="is not available in this version", hint="remove it")
        else:
            yield from _take_later(table[key], (*place, key), path)


def _defaults(document: Document, problem: ReportProblem) -> Defaults:
    table = document.defaults
    author: Mailbox | None = None
    reply_to: list[Mailbox] = []
    try:
        author = None if table.author is None else parse_mailbox(table.author)
    except AddressError as error:
        problem("defaults.from", str(error))
    fault, _, hint = charset_fault(table.charset).partition("; ")
    if fault:
        problem("defaults.charset", f"'{printable(table.charset)}' {fault}", hint)
    for text in table.reply_to:
        try:
            reply_to += parse_mailbox_list(text)
        except AddressError as error:
            problem("defaults.reply_to", str(error))
    if table.text_from_html and find_spec("inscriptis") is None:
        problem("defaults.text_from_html", "needs the package inscriptis, which is not installed",
                "pip install 'maildrop[html]'")  # fmt: skip
    return Defaults(
        author=author,
        reply_to=tuple(reply_to),
        charset=table.charset,
        in_doubt=table.in_doubt,
        partial=table.partial,
        text_from_html=table.text_from_html,
    )
