"""``submit``: a job from the command line, validated, durable before its name is printed."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import sys
import time
import tomllib
from datetime import UTC, datetime
from typing import Any, BinaryIO

import click

from maildrop import config
from maildrop.cli.common import config_file, with_config
from maildrop.errors import UsageError, printable
from maildrop.mail.envelope import parse_envelope
from maildrop.schema import toml_string
from maildrop.spool.drop import Dropped, Piece, drop
from maildrop.spool.layout import State
from maildrop.spool.readiness import ENVELOPE, is_ignored
from maildrop.spool.record import Outcome, RecordError
from maildrop.spool.record import load as load_result

_POLL_SECONDS = 0.1
_WAIT_SECONDS = 60.0


@click.command(
    "submit",
    epilog="Example: df -h | maildropd submit --from a@example.com --to b@example.org --subject disks",
)
@with_config
@click.option("--from", "author", metavar="ADDRESS", help="Author; else defaults.from of the configuration.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="Recipient; may be repeated.")
@click.option("--cc", multiple=True, metavar="ADDRESS", help="Copy; may be repeated.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="Blind copy; may be repeated.")
@click.option("--subject", metavar="TEXT", help="Subject.")
@click.option("--text", metavar="FILE", help="Text body; '-' or nothing is standard input.")
@click.option("--html", metavar="FILE", help="HTML body.")
@click.option("--attach", multiple=True, metavar="FILE", help="Attachment; may be repeated.")
@click.option("--header", multiple=True, metavar="'K: V'", help="One more header field; may be repeated.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any envelope key, a TOML value.")
@click.option("--name", metavar="NAME", help="The job's name; else one is made.")
@click.option(
    "--wait", is_flag=False, flag_value=str(_WAIT_SECONDS), metavar="[SECONDS]",
    help="Wait for the result: 0 sent, 65 failed, 75 not yet.",
)  # fmt: skip
def submit_command(config_path: str | None, name: str | None, wait: str | None, **options: Any) -> int:
    """Make a job and print its name once it is durable on disk."""
    path = config_file(config_path)
    loaded = config.load(path, secrets=False)
    seconds = _wait_seconds(wait)
    with contextlib.ExitStack() as stack:
        pieces = _bodies(stack, options)
        envelope = _envelope(options)
        parse_envelope(
            envelope,
            files=[piece.name for piece in pieces],
            defaults=loaded.mailing.defaults,
            limits=loaded.mailing.limits,
        )
        dropped = drop(loaded.spool, _job_name(name), [Piece(name=ENVELOPE, content=envelope), *pieces])
    try:
        click.echo(printable(dropped.name))
        return 0 if seconds is None else _wait_for(dropped, seconds, os.path.realpath(loaded.spool))
    finally:
        os.close(dropped.folder)


def _wait_seconds(wait: str | None) -> float | None:
    try:
        seconds = None if wait is None else float(wait)
    except ValueError:
        seconds = math.nan
    if seconds is not None and not 0 <= seconds < math.inf:
        raise UsageError("--wait", f"'{wait}' is not a number of seconds", hint="for example --wait 30")
    return seconds


def _job_name(name: str | None) -> str:
    if name is None:
        return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(3)}"
    if "/" in name or not name or len(os.fsencode(name)) > 200 or not name.isprintable() or is_ignored(name):
        what = f"'{printable(name)}' can't be a job's name"
        raise UsageError("--name", what, hint="use letters, digits, '-' and '_', nothing like '.x' or 'x.tmp'")
    return name


def _bodies(stack: contextlib.ExitStack, options: dict[str, Any]) -> list[Piece]:
    """Return the job's files; a body from standard input where none is named."""
    pieces: list[Piece] = []
    text, html = options["text"], options["html"]
    if text is None and html is None:
        text = "-"
    if text is not None:
        pieces.append(Piece(name="body.txt", content=_open(stack, text)))
    if html is not None:
        pieces.append(Piece(name="body.html", content=_open(stack, html)))
    pieces += [
        Piece(name=f"attachments/{os.path.basename(path)}", content=_open(stack, path)) for path in options["attach"]
    ]
    names = [piece.name for piece in pieces]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise UsageError("--attach", f"two files are called '{printable(twice)}'", hint="rename one")
    return pieces


def _open(stack: contextlib.ExitStack, path: str) -> BinaryIO:
    if path == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(path, "rb"))
    except OSError as error:
        raise UsageError(printable(path), error.strerror or str(error), hint="name a file that you can read") from None


def _envelope(options: dict[str, Any]) -> bytes:
    lines: list[str] = []
    texts = {"from": options["author"], "subject": options["subject"]}
    texts |= {key: ", ".join(options[key]) or None for key in ("to", "cc", "bcc")}
    lines += [f"{key} = {toml_string(text)}" for key, text in texts.items() if text is not None]
    for setting in options["settings"]:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError("--set", f"'{printable(setting)}' is not KEY=VALUE", hint="write it like priority=3")
        lines.append(f"{key.strip()} = {_toml_value(value)}")
    fields: dict[str, list[str]] = {}
    for header in options["header"]:
        key, colon, value = header.partition(":")
        if not colon:
            raise UsageError("--header", f"'{printable(header)}' has no colon", hint="write it like 'X-Id: 4711'")
        fields.setdefault(key.strip(), []).append(value.strip())
    if fields:
        lines.append("[headers]")
        for key, values in fields.items():
            lines.append(f"{toml_string(key)} = [{', '.join(map(toml_string, values))}]")
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _toml_value(text: str) -> str:
    """Return the text as it is if it is a TOML value, else as a string."""
    try:
        tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return toml_string(text)
    return text


def _wait_for(dropped: Dropped, seconds: float, spool: str) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        path, octets = dropped.whereabouts()
        state = next((state for state in (State.SENT, State.FAILED) if path.startswith(f"{spool}/{state}/")), None)
        if octets is not None and state is not None:
            with contextlib.suppress(RecordError):
                result = load_result(octets)
                click.echo(f"{state}: {result.reason}", err=True)
                return 0 if result.outcome in (Outcome.SENT, Outcome.DUPLICATE) else 65
        time.sleep(_POLL_SECONDS)
    click.echo(f"not yet: {printable(dropped.name)} is still on its way; see 'maildropd show'", err=True)
    return 75
