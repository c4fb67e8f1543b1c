"""``explain``: what will become of a job, and why. Nothing is sent or changed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from maildrop import config
from maildrop.cli.common import config_file, print_json, with_config
from maildrop.cli.compose import opened, origin_of, path_of, recorded
from maildrop.delivery.mailing import Mailing, read_mailing, route_of, warnings_of
from maildrop.errors import InvalidJob, MaildropError, printable
from maildrop.mail.message import Message
from maildrop.spool.founding import STAGING
from maildrop.spool.layout import Spool, State
from maildrop.spool.record import Result
from maildrop.status import forecast
from maildrop.status.soundness import news_of

_COLUMNS = 12


@click.command("explain", epilog="Example: maildropd explain invoice-4711")
@click.argument("job")
@with_config
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def explain_command(job: str, config_path: str | None, *, as_json: bool) -> int:
    """Tell which way a job goes, through which relays, how it will count, and what comes next.

    JOB is a name, STATE/NAME, or a path to a folder or .eml file anywhere. Exit code: 0, or 65 if it is invalid.
    """
    settings = config.load(config_file(config_path), secrets=False)
    path = path_of(job, config_path)
    state, name = _place(path, settings.spool)
    picture: dict[str, Any] = {"job": printable(name), "state": state, "path": printable(os.path.abspath(path))}
    try:
        with opened(path, config_path) as (folder, message_name):
            result = recorded(folder) if state != State.INCOMING else None
            mailing = read_mailing(folder, settings.mailing, origin=origin_of(result), message_name=message_name)
            picture |= _told(name, settings, mailing, mailing.compose(), result)
    except InvalidJob as invalid:
        picture |= {"valid": False, "problems": [_problem(problem) for problem in invalid.problems]}
        result = None
    picture["next"] = _next(picture, settings, result, name)
    if as_json:
        print_json(picture)
    else:
        _print(picture)
    return 0 if picture["valid"] else 65


def _place(path: str, spool: str) -> tuple[str | None, str]:
    """Return the folder of the spool that a job lies in, None for one elsewhere, and its name there."""
    real = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.basename(path.rstrip("/")))
    first, _, rest = os.path.relpath(real, os.path.realpath(spool)).partition("/")
    if rest and (first in set(State) or first == STAGING):
        return first, rest
    return None, os.path.basename(real)


def _told(
    name: str, settings: config.Config, mailing: Mailing, message: Message, result: Result | None
) -> dict[str, Any]:
    """Return what a valid job comes to; raises InvalidJob where its route is impossible."""
    delivery, mails = mailing.delivery, settings.mailing
    route = route_of(name, delivery, mails)
    _, news = news_of(settings.spool, volatile=settings.volatile, layout=settings.layout)
    relays = dict.fromkeys(relay for leg in route for relay in leg.relays)
    return {
        "valid": True,
        "from": printable(delivery.reverse_path),
        "recipients": [printable(path) for path in delivery.forward_paths],
        "open": forecast.open_recipients(result, delivery),
        "subject": printable(mailing.subject),
        "size": message.size,
        "ways": forecast.ways(name, delivery, route, mails, settings.relays, size=message.size, news=news),
        "policy": None,
        **forecast.terms(
            mailing,
            message,
            claimed=None if result is None else result.claimed,
            give_up_seconds=settings.retry.give_up_seconds,
            in_doubt_of={relay: settings.relays[relay].in_doubt.value for relay in relays},
        ),
        "warnings": [_problem(problem) for problem in warnings_of(mailing, message, route, mails)],
    }


def _problem(problem: Any) -> dict[str, str | None]:
    return {"where": problem.where, "what": problem.what, "hint": problem.hint or None}


def _next(picture: Mapping[str, Any], settings: config.Config, result: Result | None, name: str) -> str:
    state = picture["state"]
    if state in (None, STAGING):
        first = "" if picture["valid"] else "mended and "
        return f"nothing, until it is {first}renamed into {printable(settings.spool)}/{State.INCOMING}/"
    if state == State.INCOMING:
        return _next_of_drop(settings, name) + ("" if picture["valid"] else "; then it goes to failed/, as invalid")
    held = [
        relay["name"]
        for way in picture.get("ways", ()) if all(relay["state"] == "held" for relay in way["relays"])
        for relay in way["relays"]
    ]  # fmt: skip
    return forecast.next_of_job(State(state), name, result, held, now=datetime.now(UTC))


def _next_of_drop(settings: config.Config, name: str) -> str:
    """Say what happens to a drop; by its own eyes where this user may look."""
    try:
        with Spool.open(settings.spool, volatile=settings.volatile, layout=settings.layout) as spool:
            limits = settings.mailing.limits
            said = forecast.next_of_drop(spool, name, settings.intake, limits, now_wall=time.time())
            return said if spool.owner() is not None else f"{said} (but the daemon does not run now)"
    except MaildropError:
        return "is claimed when it is complete (whether it is, only root and the daemon's user can see)"


def _print(picture: Mapping[str, Any]) -> None:
    click.secho(f"{picture['job']} ({picture['state'] or 'not in the spool'})", bold=True)
    for problem in picture.get("problems", ()):
        _line("invalid", _sentence(problem))
    if picture["valid"]:
        _print_mail(picture)
        for way in picture["ways"]:
            _print_way(way)
        _print_terms(picture)
        for warning in picture["warnings"]:
            _line("warning", _sentence(warning))
    _line("next", picture["next"])


def _print_mail(picture: Mapping[str, Any]) -> None:
    paths = ", ".join(picture["recipients"])
    _line("mail", f"{picture['size']} octets from <{picture['from']}> to {paths}, subject '{picture['subject']}'")
    if picture["open"] != picture["recipients"]:
        _line("still open", ", ".join(picture["open"]) or "nobody")
    _line("needs", f"{' and '.join(picture['needs']) or 'nothing special'} of the relay")


def _print_way(way: Mapping[str, Any]) -> None:
    _line("way", ", then ".join(relay["name"] for relay in way["relays"]))
    for rule in way["rules"]:
        _line("", f"{rule['rule']}: {', '.join(rule['recipients'])}")
    for relay in way["relays"]:
        count, most = relay["transactions"], relay["recipients_per_message"]
        words = f"{forecast.state_of(relay)}; {count} transaction{'s'[: count > 1]} of at most {most} recipients"
        if relay["rate"] is not None:
            words += f"; at most {relay['rate']}"
        if relay["max_message_size"] is not None:
            words += f"; takes {relay['max_message_size']} octets" + (": TOO LARGE" if relay["too_large"] else "")
        _line(f"relay {relay['name']}", words)


def _print_terms(picture: Mapping[str, Any]) -> None:
    _line("policy", "none: whoever can drop a job may send to everybody")
    all_or_nothing = picture["partial"] == "all-or-nothing"
    refused = (
        "one refused recipient keeps it from all"
        if all_or_nothing
        else "a refused recipient does not keep it from the others"
    )
    _line("terms", f"priority {picture['priority']}; in doubt: {picture['in_doubt']}; {refused}")
    before = f"not before {picture['not_before']}; " if picture["not_before"] else ""
    _line("times", f"{before}given up {picture['expires']}")
    if picture["notify"] or picture["envelope_id"] or picture["return"]:
        named = {
            "notify": ", ".join(picture["notify"]),
            "envelope_id": picture["envelope_id"],
            "return": picture["return"],
        }
        _line("notices", ", ".join(f"{key} {value}" for key, value in named.items() if value))


def _line(word: str, text: str) -> None:
    click.echo(f"  {word:{_COLUMNS}}  {text}")


def _sentence(problem: Mapping[str, str | None]) -> str:
    return f"{problem['where']}: {problem['what']}" + (f"; {problem['hint']}" if problem["hint"] else "")
