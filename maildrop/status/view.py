"""One picture of spool and relays, made of what the folders say and of what the running daemon posted.

Everything here is plain data, ready for JSON: times are ISO 8601 in UTC, absent values None. Changes nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from maildrop.delivery.health import is_ending
from maildrop.delivery.relay import Relay
from maildrop.errors import Problem, printable
from maildrop.spool import bulletin
from maildrop.spool.job import Job
from maildrop.spool.layout import Spool, State
from maildrop.spool.lookup import Place
from maildrop.spool.record import RecordError, Result

_WAITING = (State.INCOMING, State.ACTIVE, State.DEFERRED)  # where the oldest unsent job can be


def relays_now(relays: Iterable[Relay], *, loop_now: float, now: datetime) -> list[dict[str, Any]]:
    """Return the state of each relay; ``loop_now`` is the loop's clock, in which holds are kept."""
    picture: list[dict[str, Any]] = []
    for relay in (one for each in relays for one in (each, *each.troubled())):
        hold = relay.hold_state
        until = None if hold is None else now + timedelta(seconds=max(0.0, hold.until - loop_now))
        since = None if hold is None else now - timedelta(seconds=max(0.0, loop_now - hold.since))
        picture.append(
            {
                "name": relay.title,
                "state": relay.state.value,
                "why": None if hold is None else hold.why,
                "since": stamp(since),
                "until": stamp(until),
                "instead": relay.detour.instead if hold is not None and relay.detour is not None else None,
                "sessions": relay.sessions,
                "certificate_expires": stamp(relay.certificate_expires),
                "notice": _notice(relay, now),
            }
        )
    return picture


def _notice(relay: Relay, now: datetime) -> str | None:
    """Return what a person should do something about while mails still go through."""
    expires = relay.certificate_expires
    if expires is None or not is_ending(expires, now):
        return None
    days = (expires - now).days
    return f"the server's certificate {f'ends in {days} days' if days >= 0 else 'has ended'} ({expires:%Y-%m-%d})"


def picture(spool: Spool) -> dict[str, Any]:
    """Return counts per state, the relays as the daemon last saw them, the oldest unsent job, and the daemon."""
    pid = spool.owner()
    news = bulletin.read(spool) if pid is not None else {}
    return {
        "counts": {state.value: sum(1 for _ in spool.names(state)) for state in State},
        "relays": news.get("relays", []),
        "oldest": _oldest(spool),
        "incomplete": news.get("incomplete"),
        "paused": news.get("paused"),
        "daemon": {"running": pid is not None, "pid": pid or None, "since": news.get("since")},
    }


def _oldest(spool: Spool) -> dict[str, Any] | None:
    """Return the job that has waited longest, by the time of its entry: cheap for any number of jobs."""
    best: tuple[float, State, str] | None = None
    for state in _WAITING:
        folder = spool.folder(state)
        for name in spool.names(state):
            with contextlib.suppress(FileNotFoundError):
                changed = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
                if best is None or changed < best[0]:
                    best = (changed, state, name)
    if best is None:
        return None
    return {"job": printable(best[2]), "state": best[1].value, "since": stamp(datetime.fromtimestamp(best[0], UTC))}


def rows(spool: Spool, states: Iterable[State], *, limit: int | None) -> Iterator[dict[str, Any]]:
    """Yield one row for each job of these states, by name; at most ``limit``."""
    count = 0
    for state in states:
        for name in sorted(spool.names(state)):
            if limit is not None and count >= limit:
                return
            count += 1
            yield row(name, state, _read(spool, Place(state=state, name=name)))


def row(name: str, state: State, result: Result | Problem | None) -> dict[str, Any]:
    """Return the short form of a job."""
    known = result if isinstance(result, Result) else None
    unknown = str(result) if isinstance(result, Problem) else _NO_RESULT.get(state, _LOST_RESULT)
    return {
        "job": printable(name),
        "state": state.value,
        "outcome": known.outcome.value if known else None,
        "reason": known.reason if known else unknown,
        "claimed": stamp(known.claimed) if known else None,
        "next_attempt": stamp(known.next_attempt) if known else None,
        "attempts": len(known.attempts) if known else 0,
        "size": known.size if known else None,
        "recipients": [recipient.address for recipient in known.recipients] if known else [],
    }


_NOTHING: dict[str, Any] = {  # what ``as_data`` says of a job without a result: the same keys
    **dict.fromkeys(("outcome", "reason", "message_id", "size", "digest", "claimed", "finished", "next_attempt")),
    "possible_duplicate": False, "in_doubt": None, "recipients": [], "attempts": [], "problems": [], "meta": {},
}  # fmt: skip
_NO_RESULT = {State.INCOMING: "not claimed yet", State.ACTIVE: "claimed, nothing recorded yet"}
_LOST_RESULT = "it has no result.toml, or one that is not maildropd's"


def whole(spool: Spool, place: Place) -> dict[str, Any]:
    """Return one job in full: its result's fields, its state, path and files. Raises FileNotFoundError."""
    result = _read(spool, place)
    short = row(place.name, place.state, result)
    described: dict[str, Any] = (
        as_data(result) if isinstance(result, Result) else {**_NOTHING, "reason": short["reason"]}
    )
    described |= {
        "job": printable(place.name.rpartition("/")[2]),
        "state": place.state.value,
        "path": printable(f"{spool.path}/{place.state}/{place.name}"),
        "files": _files(spool, place),
    }
    return described


def _files(spool: Spool, place: Place) -> list[str]:
    try:
        with Job.open(spool, place.state, place.name) as job:
            return [printable(name) for name in job.folder.walk()]
    except NotADirectoryError:
        return [printable(place.name)]


def _read(spool: Spool, place: Place) -> Result | Problem | None:
    if place.state is State.INCOMING:
        return None  # whatever lies there is the producer's, not our record
    try:
        with Job.open(spool, place.state, place.name) as job:
            return job.read_result()
    except RecordError as error:
        return Problem(where="result.toml", what=error.what)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        return Problem(where="job", what="you may not read it", hint="ask its producer, or root")


def as_data(result: Result) -> dict[str, Any]:
    """Return a result as plain data, with the names and in the order of ``result.toml``."""
    return {
        "outcome": result.outcome.value,
        "reason": result.reason,
        "message_id": result.message_id,
        "size": result.size,
        "digest": result.digest,
        "claimed": stamp(result.claimed),
        "finished": stamp(result.finished),
        "possible_duplicate": result.possible_duplicate,
        "in_doubt": result.in_doubt,
        "next_attempt": stamp(result.next_attempt),
        "recipients": [_plain(one, ("address", "status", "relay", "stage", "code", "enhanced", "text", "queue_id"))
                       for one in result.recipients],
        "attempts": [_plain(one, ("number", "started", "seconds", "relay", "peer", "tls", "result"))
                     for one in result.attempts],
        "problems": [_plain(one, ("where", "what", "hint")) for one in result.problems],
        "meta": _jsonable(result.meta),
    }  # fmt: skip


def _plain(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _jsonable(getattr(value, name)) for name in names}


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return stamp(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # TOML has it, JSON has not
    if isinstance(value, Mapping):
        return {str(key): _jsonable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def stamp(when: datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC with milliseconds."""
    return None if when is None else when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
