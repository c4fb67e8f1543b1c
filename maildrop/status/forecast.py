"""What will become of a job: which way it goes, in how many transactions, how it will count, and what comes next.

Plain data, ready for JSON, made of what the job and the configuration say and of what the daemon posted last. Nothing
is opened here but the drop in ``incoming/`` that `next_of_drop` judges as the daemon would, and nothing is changed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from maildrop.delivery.mailing import Mailing, MailingSettings
from maildrop.delivery.relay_settings import RelaySettings
from maildrop.delivery.route import Leg, Route
from maildrop.errors import printable
from maildrop.mail.envelope import Partial, named_files
from maildrop.mail.message import Message, Need
from maildrop.mail.model import Delivery, Limits
from maildrop.spool.backlog import Arrival, Observed
from maildrop.spool.byhand import due_again
from maildrop.spool.examine import Examiner
from maildrop.spool.layout import Spool, State
from maildrop.spool.readiness import IntakeSettings, Lack, Step, is_ignored, problems, span
from maildrop.spool.record import Result, Status
from maildrop.status.view import stamp

_DONE = frozenset({Status.DELIVERED, Status.REJECTED, Status.IN_DOUBT})


def ways(
    job: str,
    delivery: Delivery,
    route: Sequence[Leg],
    settings: MailingSettings,
    relays: Mapping[str, RelaySettings],
    *,
    size: int,
    news: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return each way that recipients go: the rules that say so, and its relays, best first, as they are now."""
    known = {one.get("name"): one for one in news.get("relays") or () if isinstance(one, dict)}
    return [
        {
            "rules": _rules(delivery, settings.routes, leg, job),
            "relays": [_relay(relays[name], leg, delivery, size, known.get(name, {})) for name in leg.relays],
        }
        for leg in route
    ]


def state_of(relay: Mapping[str, Any]) -> str:
    """Say how a relay is, as far as the daemon has told."""
    until = f" until {relay['until']}" if relay.get("until") else ""
    why = f": {relay['why']}" if relay.get("why") else ""
    return printable(f"{relay.get('state') or 'state not known'}{until}{why}")


def _rules(delivery: Delivery, routes: Sequence[Route], leg: Leg, job: str) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for path in leg.forward_paths:
        found.setdefault(_rule(delivery, routes, path, job), []).append(printable(path))
    return [{"rule": rule, "recipients": paths} for rule, paths in found.items()]


def _rule(delivery: Delivery, routes: Sequence[Route], path: str, job: str) -> str:
    """Say which rule decides about a recipient."""
    if delivery.relays:
        return "'relay' in the envelope"
    for number, route in enumerate(routes, 1):
        if route.matches(sender=delivery.reverse_path, recipient=path, job=job):
            globs = {"sender": route.sender, "recipient": route.recipient, "job": route.job}
            words = ", ".join(f"{key} '{printable(glob)}'" for key, glob in globs.items() if glob != "*")
            return f"route {number} ({words or 'everything'})"
    return "no route matches" if routes else "no routes are configured"


def _relay(settings: RelaySettings, leg: Leg, delivery: Delivery, size: int, now: Mapping[str, Any]) -> dict[str, Any]:
    whole = delivery.partial is Partial.ALL_OR_NOTHING
    most = len(leg.forward_paths) if whole else settings.recipients_per_message
    limit = settings.max_message_octets
    return {
        "name": settings.name,
        "state": now.get("state"),
        "why": now.get("why"),
        "until": now.get("until"),
        "transactions": math.ceil(len(leg.forward_paths) / max(most, 1)),
        "recipients_per_message": settings.recipients_per_message,
        "rate": None if settings.rate is None else f"{settings.rate.count} in {span(settings.rate.seconds)}",
        "max_message_size": limit,
        "too_large": limit is not None and size > limit,
    }


def terms(
    mailing: Mailing,
    message: Message,
    *,
    claimed: datetime | None,
    give_up_seconds: float,
    in_doubt_of: Mapping[str, str],
) -> dict[str, Any]:
    """Return how the job will count: its needs, its times, its priority, and what it asks of the relay."""
    delivery = mailing.delivery
    needs = set(message.needs)
    if not all(path.isascii() for path in (delivery.reverse_path, *delivery.forward_paths)):
        needs.add(Need.SMTPUTF8)
    default_expiry = timedelta(seconds=give_up_seconds)
    return {
        "needs": sorted(need.value for need in needs),
        "priority": delivery.priority,
        "not_before": _time(delivery.not_before, claimed),
        "expires": _time(delivery.expires if delivery.expires is not None else default_expiry, claimed),
        "in_doubt": delivery.in_doubt.value if delivery.in_doubt else _of_relays(in_doubt_of),
        "partial": delivery.partial.value,
        "notify": list(delivery.notify),
        "envelope_id": delivery.envelope_id,
        "return": delivery.returned,
    }


def _of_relays(words: Mapping[str, str]) -> str:
    """Return one word that all relays have, else each with its relay."""
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{word} (relay {name})" for name, word in words.items())


def _time(when: datetime | timedelta | None, claimed: datetime | None) -> str | None:
    """Return a time; a span from a claim that has not been made yet is said as such."""
    if isinstance(when, timedelta):
        return f"{span(when.total_seconds())} after the claim" if claimed is None else stamp(claimed + when)
    return stamp(when)


def open_recipients(result: Result | None, delivery: Delivery) -> list[str]:
    """Return who will get the mail at the next attempt."""
    if result is None:
        return [printable(path) for path in delivery.forward_paths]
    known = {one.address: one.status for one in result.recipients}
    return [printable(path) for path in delivery.forward_paths if known.get(path) not in _DONE]


def next_of_drop(spool: Spool, name: str, settings: IntakeSettings, limits: Limits, *, now_wall: float) -> str:
    """Say what the daemon would do with a drop in ``incoming/`` now, by its own judgement."""
    if is_ignored(name):
        return "its name says that it is still being written: it is not looked at until it is renamed"
    observed = Observed(name=name, arrival=Arrival.LYING)
    examiner = Examiner(settings, lambda octets: named_files(octets, limits=limits), leases=not spool.network)
    try:
        found = examiner.look(spool.folder(State.INCOMING), observed, time.monotonic(), now_wall)
    except OSError as error:
        return f"can't be looked at: {error.strerror}"
    if found is None:
        return "is gone from incoming/: perhaps it was claimed a moment ago"
    if found.verdict.step is Step.READY:
        return "is complete: it is claimed at once"
    if found.verdict.lack is Lack.SETTLING:
        return f"waits until nothing in it has changed for {span(settings.quiet_seconds)}"
    return "waits: " + "; ".join(str(one) for one in problems(name, found.sight, found.verdict))


def next_of_job(state: State, name: str, result: Result | None, held: Sequence[str], *, now: datetime) -> str:
    """Say what comes next for a job that was claimed; ``held`` are the relays that it waits for."""
    shown = printable(name.rpartition("/")[2])
    match state:
        case State.DEFERRED:
            due = None if result is None else result.next_attempt
            return "next attempt now" if due is None or due <= now else f"next attempt at {stamp(due)}"
        case State.ACTIVE:
            return (
                f"waits for relay {' or '.join(held)}, which is held"
                if held
                else "is being worked on, or waits for its turn"
            )
        case State.HELD:
            return "was put aside: it stays until it is moved into incoming/"
        case State.SENT:
            return "nothing: the relay has taken it for every recipient"
        case State.FAILED if result is not None:
            wanted = [one.address for one in due_again(result, now=now).recipients if one.status is Status.PENDING]
            whom = ", ".join(printable(path) for path in wanted) or "every recipient"
            return f"nothing, until a person decides: 'maildropd retry {shown}' sends it to {whom}"
    return "nothing: it has no result; drop it again by moving it into incoming/"
