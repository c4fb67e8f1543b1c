"""``lint`` and ``render``: what would be sent, and what keeps it from being sent. Nothing is sent or changed."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import IO

import click

from maildrop import config
from maildrop.cli import desktop
from maildrop.cli.common import config_file, with_config
from maildrop.delivery.mailing import Mailing, MailingSettings, Origin, read_mailing, route_of, warnings_of
from maildrop.errors import CannotCreate, ConfigurationError, InvalidJob, UsageError, printable
from maildrop.mail.message import Message
from maildrop.spool.files import RESULT, JobFolder
from maildrop.spool.layout import Spool, State
from maildrop.spool.lookup import find
from maildrop.spool.readiness import FINISHED_MESSAGE
from maildrop.spool.record import RecordError, Result
from maildrop.spool.record import load as load_result

_MESSAGE_ID = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")


@click.command("lint", epilog="Example: maildropd lint ./invoice-4711 letter.eml")
@click.argument("jobs", nargs=-1, required=True)
@with_config
def lint_command(jobs: tuple[str, ...], config_path: str | None) -> int:
    """Validate jobs: folders or .eml files anywhere, or names of jobs in the spool. Sends nothing.

    Warnings are about what is legal and still wrong, such as a missing subject; they don't change the exit code.
    """
    settings = _settings(config_path)
    code = 0
    for text in jobs:
        try:
            with opened(text, config_path) as (folder, message_name):
                mailing = read_mailing(folder, settings, origin=origin_of(recorded(folder)), message_name=message_name)
                message = mailing.compose()
                route = route_of(text, mailing.delivery, settings) if settings.relays else ()
                warnings = list(warnings_of(mailing, message, route, settings))
        except InvalidJob as invalid:
            code = 65
            for problem in invalid.problems:
                click.echo(f"{printable(text)}: {problem}")
        except UsageError as unknown:  # the others are judged all the same; an invalid one decides the exit code
            code = code or unknown.exit_code
            click.echo(f"maildropd: {unknown}", err=True)
        else:
            for warning in warnings:
                click.echo(f"{printable(text)}: warning: {warning}")
            click.echo(f"{printable(text)}: fine; {summary(mailing, message)}")
    return code


@click.command("render", epilog="Example: maildropd render ./invoice-4711 -o invoice.eml")
@click.argument("job")
@with_config
@click.option("-o", "output", metavar="FILE", type=click.Path(dir_okay=False), help="Write it there.")
@click.option("--open", "show", is_flag=True, help="Show it in the desktop's mail program; without -o as a new file.")
@click.option("--message-id", metavar="ID", help="Fix the Message-ID.")
@click.option("--date", metavar="TIME", help="Fix the Date: RFC 3339, such as 2026-11-23T08:00:00Z.")
def render_command(
    job: str, config_path: str | None, output: str | None, *, show: bool, message_id: str | None, date: str | None
) -> None:
    """Print the exact message that would be sent, with CRLF line ends.

    A job that was tried before keeps its Message-ID and Date; for a folder without a result both are new each time,
    unless they are fixed by the options. With --open it is written into a new private folder, which is kept, and shown.
    """
    settings = _signing(_settings(config_path), config_path)
    with opened(job, config_path) as (folder, message_name):
        origin = origin_of(recorded(folder), message_id=message_id, date=date)
        mailing = read_mailing(folder, settings, origin=origin, message_name=message_name)
        message = mailing.compose()
        if show and output in (None, "-"):
            output = desktop.place_for(job)
        with _opened_for_writing(output) as file:
            for chunk in message.chunks():
                file.write(chunk)
    click.echo(summary(mailing, message), err=True)
    if show and output is not None:
        click.echo(printable(output))
        desktop.show(output)


def _settings(config_path: str | None) -> MailingSettings:
    """Return the configuration's settings, or the defaults on a machine that has no configuration (a developer's)."""
    path = config_file(config_path)
    if config_path is None and not os.path.exists(path):
        return MailingSettings()
    return config.load(path, secrets=False).mailing


def _signing(settings: MailingSettings, config_path: str | None) -> MailingSettings:
    """Add who signs, if the key can be read by this user; else the message is shown without, and that is said."""
    path = config_file(config_path)
    if not os.path.exists(path):
        return settings
    try:
        return replace(settings, signer=config.load_signer(path))
    except ConfigurationError as error:
        click.echo(f"not signed: {error.problems[0]}", err=True)
        return settings


def summary(mailing: Mailing, message: Message) -> str:
    """Return in one line what would be sent."""
    paths = mailing.delivery.forward_paths
    return (
        f"{message.size} octets from <{printable(mailing.delivery.reverse_path)}> to {printable(', '.join(paths))}"
        f", subject '{printable(mailing.subject)}'"
    )


def recorded(folder: JobFolder) -> Result | None:
    """Return the record of earlier attempts, whose identity the message keeps."""
    octets = folder.read_own(RESULT)
    try:
        return None if octets is None else load_result(octets)
    except RecordError:
        return None  # not ours, or torn: as if there were none


@contextmanager
def _opened_for_writing(output: str | None) -> Iterator[IO[bytes]]:
    try:
        file = click.open_file(output or "-", "wb")
    except OSError as error:
        raise CannotCreate(printable(output or "-"), error.strerror or str(error), hint="name another file") from None
    with file:
        yield file


def origin_of(known: Result | None, *, message_id: str | None = None, date: str | None = None) -> Origin:
    """Return the identity: as the options say, else as recorded, else a new one."""
    first = datetime.now(UTC)
    if known is not None:
        first, message_id = known.claimed, message_id or known.message_id
    if date is not None:
        try:
            first = datetime.fromisoformat(date)
        except ValueError:
            raise UsageError("--date", f"'{date}' is not a time", hint="write it like 2026-11-23T08:00:00Z") from None
        if first.tzinfo is None:
            first = first.astimezone()
    if message_id is not None:
        message_id = f"<{message_id.strip('<>')}>"
        if not _MESSAGE_ID.fullmatch(message_id):
            hint = "write it like '4711@example.com'"
            raise UsageError("--message-id", f"'{printable(message_id)}' is not a Message-ID", hint=hint)
    return Origin(first=first, token=secrets.token_hex(16), message_id=message_id)


@contextmanager
def opened(text: str, config_path: str | None) -> Iterator[tuple[JobFolder, str]]:
    """Open the folder that a person means, and say which file in it is the finished message, if one is."""
    path = path_of(text, config_path)
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(printable(text), error.strerror or str(error), hint="name a folder or an .eml file") from None
    alone = not stat.S_ISDIR(status.st_mode)
    parent = os.path.dirname(os.path.abspath(path)) if alone else path
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    where = os.fstat(descriptor)
    owner = status.st_uid if alone else where.st_uid
    with JobFolder(descriptor, owner=owner, daemon=os.geteuid(), device=where.st_dev) as folder:
        yield folder, os.path.basename(path) if alone else FINISHED_MESSAGE


def path_of(text: str, config_path: str | None) -> str:
    """Return where the job lies: a path, or in the spool by NAME or STATE/NAME."""
    first, slash, _ = text.partition("/")
    if os.path.exists(text) or (slash and first not in set(State)):
        return text
    try:
        document = config.read(config_file(config_path))
    except ConfigurationError:
        return text  # no spool to look in: the error will be about the path
    with Spool.open(document.spool.path, volatile=document.spool.volatile, layout=document.settle.layout) as spool:
        place = find(spool, text)
        return f"{spool.path}/{place.state}/{place.name}"
