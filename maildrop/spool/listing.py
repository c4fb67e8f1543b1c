"""Which jobs there are, by name: listings for ``status`` and ``list``, and what a person means by ``JOB``.

Names only: nothing is opened, so a backlog of 100,000 jobs is listed in a fraction of a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from maildrop.errors import UsageError, did_you_mean, printable
from maildrop.spool.founding import is_job
from maildrop.spool.layout import Spool, State, is_day
from maildrop.spool.readiness import is_ignored
from maildrop.spool.tree import OPEN_FOLDER

_NAMES_TO_COMPARE = 2000  # for "did you mean": more would keep a person waiting
_SETTLED = (State.SENT, State.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a job is: its state and its name there, ``2026-11-23/NAME`` in a day's folder (what ``Job.open`` takes)."""

    state: State
    name: str

    def __str__(self) -> str:
        return printable(f"{self.state}/{self.name}")


def names(spool: Spool, state: State) -> Iterator[str]:
    """Yield the names of a state's jobs, unsorted, in ``sent`` and ``failed`` through the days' folders as well.

    In incoming these are the drops that are looked at, bare files included.
    """
    folder = spool.folder(state)
    for name in os.listdir(folder):
        if name.startswith(".") or (state is State.INCOMING and is_ignored(name)):
            continue
        if state in _SETTLED and is_day(name) and (inside := _list_day(folder, name)) is not None:
            yield from (f"{name}/{job}" for job in inside)
        else:
            yield name


def _list_day(folder: int, name: str) -> list[str] | None:
    """Return the names in a day's folder; None if it is a job that happens to be called so."""
    try:
        descriptor = os.open(name, OPEN_FOLDER, dir_fd=folder)
    except OSError:
        return None
    try:
        return None if is_job(descriptor) else os.listdir(descriptor)
    finally:
        os.close(descriptor)


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
    hint = did_you_mean(text, _some_names(spool)) or "maildropd list shows all"
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
    if "/" in text:
        return []
    found = [place for state in State if _is_there(spool, place := Place(state=state, name=text))]
    return found or _called(spool, text, list(State))


def _called(spool: Spool, text: str, states: list[State]) -> list[Place]:
    """Return the jobs in days' folders of that name, and those whose name is shown so."""
    return [
        Place(state=state, name=name)
        for state in states
        for name in names(spool, state)
        if text in (name, name.rpartition("/")[2]) or text == printable(name.rpartition("/")[2])
    ]


def _is_there(spool: Spool, place: Place) -> bool:
    if place.name.startswith(".") or "/../" in f"/{place.name}/" or (place.state in _SETTLED and is_day(place.name)):
        return False
    try:
        os.stat(place.name, dir_fd=spool.folder(place.state), follow_symlinks=False)
    except (OSError, ValueError):  # a name that no file can have is not there either
        return False
    return True


def _some_names(spool: Spool) -> list[str]:
    known: list[str] = []
    for state in State:
        for name in names(spool, state):
            known.append(printable(name.rpartition("/")[2]))
            if len(known) == _NAMES_TO_COMPARE:
                return known
    return known
