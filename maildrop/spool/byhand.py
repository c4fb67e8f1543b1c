"""What a person orders for a job, with or without a running daemon: ``retry``.

Each order is a record and one rename, like every other transition; the daemon notices by looking.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from maildrop.errors import NotPermitted, UsageError
from maildrop.spool import durable
from maildrop.spool.job import Job, resume
from maildrop.spool.layout import Spool, State
from maildrop.spool.lookup import Place
from maildrop.spool.record import Outcome, RecipientResult, Result, Status


def retry(spool: Spool, place: Place, *, now: datetime) -> str:
    """Make a failed or deferred job due now, for the recipients that have not got it; return its name in active.

    A running daemon finds it there at its next scan, another one at its start. Durable on return. Raises UsageError if
    there is nothing to try again, NotPermitted, and RecordError if its result can't be read.
    """
    with _to_retry(spool, place) as (job, result):
        due = due_again(result, now=now)
        if job.state is State.DEFERRED:
            job.note(due)
        else:
            job.defer(due)
        try:
            name = resume(spool, job.name)
        except FileNotFoundError:  # the daemon was quicker: due now is due now
            return job.name
        durable.sync_directory(spool.folder(State.ACTIVE))
        return name


def check_retry(spool: Spool, place: Place) -> None:
    """Raise what ``retry`` would raise, and change nothing."""
    with _to_retry(spool, place):
        return


@contextmanager
def _to_retry(spool: Spool, place: Place) -> Iterator[tuple[Job, Result]]:
    """Open a job that can be tried again, with its record."""
    if place.state not in (State.FAILED, State.DEFERRED):
        what = f"is {place.state}; only failed and deferred jobs can be tried again"
        raise UsageError(str(place), what, hint="maildropd list failed deferred")
    if os.geteuid() not in (0, spool.daemon):  # a producer could write the record of its own job, and move nothing
        raise NotPermitted(str(place), "only root or the daemon's user can do that", hint="run it as one of them")
    try:
        opened = Job.open(spool, place.state, place.name)
    except FileNotFoundError:
        raise UsageError(str(place), "is not there any more; perhaps it was due", hint="maildropd list") from None
    with opened as job:
        result = job.read_result()
        if result is None:
            hint = f"drop it again: mv it to {spool.path}/{State.INCOMING}"
            raise UsageError(str(place), "has no result, so what was delivered is unknown", hint=hint)
        yield job, result


def due_again(result: Result, *, now: datetime) -> Result:
    """Return the record of a job that is to be tried again at ``now``: delivered recipients stay, all others are open.

    Whoever was in doubt may get a second copy, and the record says so.
    """
    doubtful = any(recipient.status is Status.IN_DOUBT for recipient in result.recipients)
    return replace(
        result,
        outcome=Outcome.DEFERRED,
        reason="to be tried again, ordered by hand",
        finished=None,
        next_attempt=now,
        possible_duplicate=result.possible_duplicate or doubtful,
        recipients=tuple(map(_open_again, result.recipients)),
        problems=(),
    )


def _open_again(recipient: RecipientResult) -> RecipientResult:
    if recipient.status is Status.DELIVERED:
        return recipient
    return RecipientResult(address=recipient.address, status=Status.PENDING)
