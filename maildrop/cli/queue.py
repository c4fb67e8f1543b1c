"""``status``, ``list``, ``show``, ``retry``: what lies where, why, and once more."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maildrop.cli.common import open_spool, print_json, with_config
from maildrop.errors import MaildropError, UsageError, printable
from maildrop.spool.byhand import check_retry, retry
from maildrop.spool.layout import State
from maildrop.spool.lookup import Place, find
from maildrop.status import view

_json = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")


_ENDLESS = 100_000  # columns of a pipe or a file: there a row is a line
_WHOLE = frozenset({"state", "next attempt", "attempts", "number", "started", "until", "code"})  # short; never broken


def _console() -> Console:
    return Console(soft_wrap=False, highlight=False, width=None if sys.stdout.isatty() else _ENDLESS)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    return table


@click.command("status", epilog="Example: maildropd status --json")
@with_config
@_json
def status_command(config_path: str | None, *, as_json: bool) -> None:
    """Show counts per folder, the relays, the oldest unsent job, and whether the daemon runs."""
    with open_spool(config_path) as spool:
        picture = view.picture(spool)
    if as_json:
        print_json(picture)
        return
    daemon, console = picture["daemon"], _console()
    pid = f", pid {daemon['pid']}" if daemon["pid"] else ""  # which only the daemon's user may know
    console.print(f"daemon: {'running' + pid if daemon['running'] else 'not running'}")
    if picture["paused"]:
        console.print(f"paused: {escape(picture['paused'])}")
    console.print("   ".join(f"{state} {count}" for state, count in picture["counts"].items()))
    if picture["incomplete"]:
        console.print(f"incomplete drops: {picture['incomplete']}")
    if picture["oldest"]:
        oldest = picture["oldest"]
        console.print(f"oldest unsent: {escape(oldest['state'])}/{escape(oldest['job'])} since {oldest['since']}")
    if picture["relays"]:
        table = _table("relay", "state", "sessions", "until", "why")
        for relay in picture["relays"]:
            table.add_row(
                escape(relay["name"]), relay["state"], str(relay["sessions"]), relay["until"] or "",
                escape(_why(relay)),
            )  # fmt: skip
        console.print(table)


def _why(relay: Mapping[str, Any]) -> str:
    """Return what there is to say about a relay, in one line; a daemon of another version may say less."""
    instead = f"jobs go to {relay['instead']}" if relay.get("instead") else None
    return "; ".join(filter(None, (relay["why"], instead, relay.get("notice"))))


@click.command("list", epilog="Example: maildropd list failed deferred")
@click.argument("states", nargs=-1, type=click.Choice([state.value for state in State]))
@with_config
@_json
@click.option("--limit", type=click.IntRange(min=1), help="At most so many jobs.")
def list_command(states: tuple[str, ...], config_path: str | None, *, as_json: bool, limit: int | None) -> None:
    """List jobs: where they are, why, and when the next attempt is. Without STATE: all that are not sent."""
    wanted = [State(state) for state in states] or [state for state in State if state is not State.SENT]
    with open_spool(config_path) as spool:
        rows = list(view.rows(spool, wanted, limit=limit))
    if as_json:
        print_json(rows)
        return
    table = _table("job", "state", "next attempt", "attempts", "reason")
    for row in rows:
        where = row["state"] if row["outcome"] in (None, row["state"]) else f"{row['state']} ({row['outcome']})"
        table.add_row(
            escape(row["job"]), where, row["next_attempt"] or "", str(row["attempts"]), escape(row["reason"] or "")
        )
    if rows:
        _console().print(table)
    else:
        click.echo("no jobs", err=True)


@click.command("show", epilog="Example: maildropd show invoice-4711")
@click.argument("job")
@with_config
@_json
def show_command(job: str, config_path: str | None, *, as_json: bool) -> None:
    """Show one job in full: JOB is a name, STATE/NAME or a path."""
    with open_spool(config_path) as spool:
        data = view.whole(spool, find(spool, job))
    if as_json:
        print_json(data)
        return
    console = _console()
    for key in (
        "job",
        "state",
        "outcome",
        "reason",
        "message_id",
        "size",
        "claimed",
        "finished",
        "next_attempt",
        "path",
    ):
        if data.get(key) is not None:
            console.print(f"[bold]{key}[/]: {escape(str(data[key]))}")
    if data.get("possible_duplicate"):
        console.print("[bold]possible_duplicate[/]: the mail may have been delivered twice")
    console.print(f"[bold]files[/]: {escape(', '.join(data['files']))}")
    _print_tables(console, data)


def _print_tables(console: Console, data: dict[str, Any]) -> None:
    columns = {
        "recipients": ("address", "status", "relay", "stage", "code", "text"),
        "attempts": ("number", "started", "seconds", "relay", "peer", "tls", "result"),
        "problems": ("where", "what", "hint"),
    }
    for key, names in columns.items():
        found = [one for one in data.get(key) or [] if isinstance(one, dict)]
        if found:
            table = _table(*names)
            for one in found:
                table.add_row(*(escape("" if one[name] is None else str(one[name])) for name in names))
            console.print()
            console.print(table)


@click.command("retry", epilog="Example: maildropd retry invoice-4711")
@click.argument("jobs", nargs=-1)
@with_config
@click.option("--all", "every", is_flag=True, help="All failed and deferred jobs.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def retry_command(jobs: tuple[str, ...], config_path: str | None, *, every: bool, dry_run: bool) -> int:
    """Send failed or deferred jobs again, now, and only to the recipients that have not got the mail."""
    if bool(jobs) == every:
        raise UsageError("retry", "either name jobs or say --all", hint="maildropd list failed deferred")
    code = 0
    with open_spool(config_path) as spool:
        places = [find(spool, job) for job in jobs]
        if every:
            places = [Place(state=state, name=name) for state in (State.FAILED, State.DEFERRED)
                      for name in spool.names(state)]  # fmt: skip
        for place in places:
            try:
                if dry_run:
                    check_retry(spool, place)
                name = place.name if dry_run else retry(spool, place, now=datetime.now(UTC))
            except MaildropError as error:
                click.echo(f"maildropd: {error}", err=True)
                code = error.exit_code
            else:
                click.echo(f"{printable(name)}: {'would be' if dry_run else 'will be'} sent again")
    return code
