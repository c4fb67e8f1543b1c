"""What a claimed job says: the mail in it, where that goes, and what earlier attempts came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from maildrop.delivery.account import Account
from maildrop.delivery.mailing import MailingSettings, Origin, read_mailing, route_of
from maildrop.delivery.route import Leg
from maildrop.mail.message import Message
from maildrop.mail.model import Delivery
from maildrop.spool.job import Job


@dataclass(slots=True, kw_only=True)
class Loaded:
    """A job that was read and is held open. ``doubt`` names recipients that an earlier run left in doubt."""

    job: Job
    delivery: Delivery
    account: Account
    legs: tuple[Leg, ...]
    doubt: tuple[str, ...]
    expires: datetime | None
    not_before: datetime | None
    compose: Callable[[], Message]
    finished: bool = False  # it was dropped as a whole message
    visited: set[str] = field(default_factory=set)  # recipients that had their try since the job was loaded

    @property
    def open_legs(self) -> tuple[Leg, ...]:
        """Return the legs with recipients who want the mail and had no try since the job was loaded."""
        wanted = set(self.account.open_paths) - self.visited
        reduced = (
            replace(leg, forward_paths=tuple(path for path in leg.forward_paths if path in wanted)) for leg in self.legs
        )
        return tuple(leg for leg in reduced if leg.forward_paths)


def load(job: Job, settings: MailingSettings, *, claimed: datetime, token: str) -> Loaded:
    """Read the job; raises InvalidJob with every problem, RecordError, OSError for trouble of this machine.

    ``claimed`` and ``token`` (random) fix the identity of a job that has no result yet.
    """
    previous = job.read_result()
    first = claimed if previous is None else previous.claimed
    known_id = None if previous is None else previous.message_id
    mailing = read_mailing(job.folder, settings, origin=Origin(first=first, token=token, message_id=known_id))
    delivery = mailing.delivery
    return Loaded(
        job=job,
        delivery=delivery,
        account=Account.open(
            job=job.name,
            claimed=first,
            forward_paths=delivery.forward_paths,
            partial=delivery.partial,
            meta=delivery.meta,
            previous=previous,
        ),
        legs=route_of(job.name, delivery, settings),
        doubt=() if previous is None else job.doubt(),
        expires=_absolute(delivery.expires, first),
        not_before=_absolute(delivery.not_before, first),
        compose=mailing.compose,
        finished=mailing.finished,
    )


def _absolute(when: datetime | timedelta | None, start: datetime) -> datetime | None:
    if when is None:
        return None
    if isinstance(when, timedelta):
        return start + when
    return when if when.tzinfo is not None else when.astimezone(UTC)
