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
from maildrop.spool.job import Job
from maildrop.spool.layout import Spool, State
from maildrop.spool.lookup import Place
from maildrop.spool.record import Outcome, RecipientResult, Result, Status


def retry(spool: Spool, place: Place, *, now: datetime) -> str:
    """Make a failed or deferred job due now, for the recipients that have not got it; return its name in active.

    A running daemon finds it there at its next scan, another one at its start. Durable on return. Raises UsageError if
    there is nothing to try again, NotPermitted, and RecordError if its result can't be read.
    """
    with _to_retry(spool, place) as (job, found):
        result: Result | None = found
        if job.state is State.DEFERRED:  # in failed/ the daemon lets it be; it could be on its way while we write
            try:
                job.move(State.FAILED)
            except FileNotFoundError:
                raise _gone(place) from None
            result = job.read_result()  # what it is now that nobody else writes to it
        job.note(due_again(result or found, now=now))
        name = job.move(State.ACTIVE)
        durable.sync_directory(job.landing)
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
        raise _gone(place) from None
    with opened as job:
        result = job.read_result()
        if result is None:
            hint = f"drop it again: mv it to {spool.path}/{State.INCOMING}"
            raise UsageError(str(place), "has no result, so what was delivered is unknown", hint=hint)
        yield job, result


def _gone(place: Place) -> UsageError:
    return UsageError(str(place), "is not there any more; perhaps it was due", hint="maildropd list")


def due_again(result: Result, *, now: datetime) -> Result:
    """Return the record of a job that is to be tried again at ``now``: delivered recipients stay, all others are open.

    Whoever was in doubt may get a second copy, and the record says so.
    """
    assumed = result.in_doubt == "assume-sent"  # at most once: what is in doubt counts as delivered for ever
    doubtful = not assumed and any(one.status is Status.IN_DOUBT for one in result.recipients)
    done = {Status.DELIVERED, Status.IN_DOUBT} if assumed else {Status.DELIVERED}
    return replace(
        result,
        outcome=Outcome.DEFERRED,
        reason="to be tried again, ordered by hand",
        finished=None,
        next_attempt=now,
        possible_duplicate=result.possible_duplicate or doubtful,
        in_doubt=result.in_doubt if assumed else None,
        recipients=tuple(
            one if one.status in done else RecipientResult(address=one.address, status=Status.PENDING)
            for one in result.recipients
        ),
        problems=(),
    )
