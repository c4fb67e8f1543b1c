"""What a person means by ``JOB``: a name, a state and a name, or a path. It knows names only, and opens no job."""

from __future__ import annotations

import os
from dataclasses import dataclass

from maildrop.errors import UsageError, did_you_mean, printable
from maildrop.spool.days import SETTLED, is_day
from maildrop.spool.layout import Spool, State

_NAMES_TO_COMPARE = 2000  # for "did you mean": more would keep a person waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a job is: its state and its name there, ``2026-11-23/NAME`` in a day's folder (what ``Job.open`` takes)."""

    state: State
    name: str

    def __str__(self) -> str:
        return printable(f"{self.state}/{self.name}")


def find(spool: Spool, text: str) -> Place:
    r"""Return the job that a person means by ``NAME``, ``STATE/NAME`` or a path; names as shown (``\xNN``) will do.

    Raises UsageError if there is none, or more than one.
    """
    found = _by_path(spool, text) or _by_state(spool, text) or _by_name(spool, text)
    if len(found) == 1:
        return found[0]
    if found:
        choice = ", ".join(str(place) for place in sorted(found, key=str))
        raise UsageError(printable(text), "more than one job is called so", hint=f"choose one: {choice}")
    hint = did_you_mean(text, _some_names(spool)) or "see 'maildropd list', and 'maildropd list sent'"
    raise UsageError(printable(text), "there is no such job", hint=hint)


def _by_path(spool: Spool, text: str) -> list[Place]:
    if "/" not in text:
        return []
    folder = os.path.realpath(os.path.dirname(text.rstrip("/")))
    inside = os.path.relpath(os.path.join(folder, os.path.basename(text.rstrip("/"))), spool.path)
    return _by_state(spool, inside)


def _by_state(spool: Spool, text: str) -> list[Place]:
    state, _, name = text.rstrip("/").partition("/")
    if state not in set(State) or not name:
        return []
    place = Place(state=State(state), name=name)
    return [place] if _is_there(spool, place) else _called(spool, name, [place.state])


def _by_name(spool: Spool, text: str) -> list[Place]:
    if "/" in text:  # as lists show a job in a day's folder
        day = is_day(text.partition("/")[0])
        return [place for state in SETTLED if day and _is_there(spool, place := Place(state=state, name=text))]
    found = [place for state in State if _is_there(spool, place := Place(state=state, name=text))]
    return found or _called(spool, text, list(State))


def _called(spool: Spool, text: str, states: list[State]) -> list[Place]:
    """Return the jobs in days' folders of that name, and those whose name is shown so."""
    return [
        Place(state=state, name=name)
        for state in states
        for name in spool.names(state)
        if text in (name, name.rpartition("/")[2]) or text == printable(name.rpartition("/")[2])
    ]


def _is_there(spool: Spool, place: Place) -> bool:
    if place.name.startswith(".") or "/../" in f"/{place.name}/" or (place.state in SETTLED and is_day(place.name)):
        return False
    try:
        os.stat(place.name, dir_fd=spool.folder(place.state), follow_symlinks=False)
    except (OSError, ValueError):  # a name that no file can have is not there either
        return False
    return True


def _some_names(spool: Spool) -> list[str]:
    known: list[str] = []
    for state in State:
        for name in spool.names(state):
            known.append(printable(name.rpartition("/")[2]))
            if len(known) == _NAMES_TO_COMPARE:
                return known
    return known
