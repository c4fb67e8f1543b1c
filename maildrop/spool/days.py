"""What lies in a state's folder: jobs by name, in ``sent/`` and ``failed/`` in the folders of days as well.

Names only: no job is opened, so a backlog of 100,000 is listed in a fraction of a second. A day's folder is told from a
job that happens to be called ``2026-11-23`` by having no result.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from maildrop.spool.founding import State
from maildrop.spool.readiness import is_ignored
from maildrop.spool.tree import OPEN_FOLDER

SETTLED = frozenset({State.SENT, State.FAILED})

_DAY = re.compile(r"\d{4}-\d\d-\d\d(\.\d+)?", re.ASCII)
_MAX_DAY_NAMES = 100


def names_in(folder: int, state: State) -> Iterator[str]:
    """Yield the names of a state's jobs, unsorted; in a day's folder they are called ``2026-11-23/NAME``.

    In incoming these are the drops that are looked at, bare files included.
    """
    for name in os.listdir(folder):
        if name.startswith(".") or (state is State.INCOMING and is_ignored(name)):
            continue
        if state in SETTLED and is_day(name) and (inside := _list_day(folder, name)) is not None:
            yield from (f"{name}/{job}" for job in inside)
        else:
            yield name


def is_day(name: str) -> bool:
    """Tell whether a name in ``sent/`` or ``failed/`` may be that of a day's folder."""
    return _DAY.fullmatch(name) is not None


def _list_day(folder: int, name: str) -> list[str] | None:
    """Return the names in a day's folder; None if it is a job that happens to be called so."""
    try:
        descriptor = os.open(name, OPEN_FOLDER, dir_fd=folder)
    except OSError:
        return None
    try:
        return None if _is_job(descriptor) else os.listdir(descriptor)
    finally:
        os.close(descriptor)


def open_day(folder: int, day: str) -> int:
    """Open the folder of a day in ``sent/`` or ``failed/``, made if it is missing; raises OSError.

    A settled job of that name is left alone: then the day's folder is ``2026-11-23.2``.
    """
    for number in range(1, _MAX_DAY_NAMES):
        name = day if number == 1 else f"{day}.{number}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=folder)
        try:
            descriptor = os.open(name, OPEN_FOLDER, dir_fd=folder)
        except NotADirectoryError:
            continue
        if not _is_job(descriptor):
            os.fchmod(descriptor, 0o755)  # whatever the umask is, producers look for their results here
            return descriptor
        os.close(descriptor)
    raise FileExistsError(f"no name is free for the folder of {day}")


def _is_job(descriptor: int) -> bool:
    """Tell a settled job from the folder of a day: it has a result."""
    try:
        os.stat("result.toml", dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
