"""Brings a job to rest: settled, deferred or passed on, as its account says; recorded first, then told.

Every move is durable when its method returns, except for trouble of this machine, which the summary then carries: the
move itself has happened and is not undone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from maildrop import log
from maildrop.delivery.commit import Commit
from maildrop.delivery.load import Loaded
from maildrop.delivery.retry import RetrySettings, next_attempt
from maildrop.errors import InvalidJob
from maildrop.smtp import SessionFailed
from maildrop.spool.job import Job
from maildrop.spool.layout import State
from maildrop.spool.record import Outcome, RecordError, Result, Status


class Next(StrEnum):
    """What the coordinator has to do with the job."""

    SETTLED = "settled"  # in sent/ or failed/: nothing
    DEFERRED = "deferred"  # in deferred/ until ``due``
    AGAIN = "again"  # still in active/: back to the front, nothing was counted
    ONWARD = "onward"  # still in active/: another relay has to take the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A courier's summary."""

    next: Next
    outcome: Outcome | None = None
    due: datetime | None = None
    name: str = ""  # in deferred/, where another job may have had the name
    healthy: bool = False  # the relay took part in a conversation
    failure: SessionFailed | None = None  # the relay could not be used
    broken: bool = False  # this message broke a session before its end
    trouble: OSError | None = None  # this machine's fault


class Settler:
    """Writes results and moves jobs; holds nothing but the ways to the clock, the dice and the commit."""

    def __init__(
        self, retry: RetrySettings, *, commit: Commit, now: Callable[[], datetime], dice: Callable[[], float]
    ) -> None:
        """Take the clock (UTC) and the dice (0 to 1) as functions, so that decisions can be tested."""
        self._retry = retry
        self._commit = commit
        self._now = now
        self._dice = dice

    async def conclude(self, loaded: Loaded) -> Carried:
        """Settle, defer, or pass on what an attempt left, as the account says."""
        account, job, now = loaded.account, loaded.job, self._now()
        outcome = account.outcome()
        if outcome is not Outcome.DEFERRED:
            return await self.settle(loaded, outcome)
        if loaded.open_legs:
            job.note(account.result(outcome, finished=None))
            return Carried(next=Next.ONWARD)
        due = next_attempt(
            self._retry,
            attempts=len(account.attempts),
            claimed=account.claimed,
            expires=loaded.expires,
            now=now,
            dice=self._dice(),
        )
        if due is None:
            return await self._give_up(loaded, f"gave up: {account.reason(outcome)}")
        return await self.defer(loaded, due)

    async def defer(self, loaded: Loaded, due: datetime, *, reason: str = "") -> Carried:
        """Move the job to deferred/ until ``due``. Durable on return."""
        account, job = loaded.account, loaded.job
        result = account.result(Outcome.DEFERRED, reason=reason, finished=None, next_attempt=due)
        job.defer(result)
        trouble = await self._sync(job)
        log.job_deferred(
            job=job.name,
            relay=None,
            reason=result.reason,
            attempts=len(account.attempts),
            next_attempt=due.isoformat(timespec="seconds"),
        )
        return Carried(next=Next.DEFERRED, outcome=Outcome.DEFERRED, due=due, name=job.name, trouble=trouble)

    async def expire(self, loaded: Loaded) -> Carried:
        """Fail a job whose time was over before it could be sent, or sent to all."""
        account = loaded.account
        last = f": {account.reason(Outcome.DEFERRED)}" if account.attempts else ""
        return await self._give_up(loaded, f"its time was over before it could be sent{last}")

    async def _give_up(self, loaded: Loaded, reason: str) -> Carried:
        statuses = {recipient.status for recipient in loaded.account.recipients.values()}
        outcome = Outcome.PARTIAL if Status.DELIVERED in statuses else Outcome.EXPIRED
        return await self.settle(loaded, outcome, reason=reason)

    async def refuse(self, job: Job, invalid: InvalidJob, *, claimed: datetime) -> Carried:
        """Move an invalid job to failed/ with every problem. Durable on return."""
        count = len(invalid.problems)
        more = f" (and {count - 1} more)" if count > 1 else ""
        result = replace(
            self._known(job, claimed),
            outcome=Outcome.INVALID,
            reason=f"{invalid.problems[0]}{more}",
            finished=self._now(),
            next_attempt=None,
            problems=invalid.problems,
        )
        job.settle(result, State.FAILED)
        trouble = await self._sync(job)
        log.job_failed(
            job=job.name, outcome=result.outcome.value, reason=result.reason, attempts=len(result.attempts), meta=None
        )
        return Carried(next=Next.SETTLED, outcome=Outcome.INVALID, trouble=trouble)

    async def stumble(self, job: Job, error: Exception, *, claimed: datetime) -> Carried:
        """Set a job aside that made maildropd itself stumble, so that it harms no other. Durable on return."""
        what = f"{type(error).__name__}: {error}"
        log.job_error(job=job.name, error=what)
        if job.state in (State.SENT, State.FAILED):  # it was settled before: that stands
            return Carried(next=Next.SETTLED)
        reason = f"maildropd stumbled over this job ({what}); please report it; 'maildropd retry' tries again"
        known = replace(self._known(job, claimed), outcome=Outcome.FAILED, reason=reason, next_attempt=None)
        job.settle(replace(known, finished=self._now()), State.FAILED)
        trouble = await self._sync(job)
        return Carried(next=Next.SETTLED, outcome=Outcome.FAILED, trouble=trouble)

    @staticmethod
    def _known(job: Job, claimed: datetime) -> Result:
        """Return what earlier attempts came to: who has got the mail must not get it again by a retry."""
        with contextlib.suppress(RecordError):  # which may be just what we stumbled over
            known = job.read_result()
            if known is not None:
                return known
        return Result(job=job.name, outcome=Outcome.FAILED, reason="", claimed=claimed)

    async def settle(self, loaded: Loaded, outcome: Outcome, *, reason: str = "") -> Carried:
        """Move the job to sent/ or failed/ with its result. Durable on return."""
        job = loaded.job
        result = loaded.account.result(outcome, reason=reason, finished=self._now())
        job.settle(result, State.SENT if outcome is Outcome.SENT else State.FAILED)
        trouble = await self._sync(job)
        return replace(self.tell(loaded, outcome, reason=reason), trouble=trouble)

    async def _sync(self, job: Job) -> OSError | None:
        """Make the job's last move durable; a failure is this machine's trouble, the move itself has happened."""
        try:
            await self._commit.sync(job.landing)
        except OSError as error:
            return error
        return None

    def tell(self, loaded: Loaded, outcome: Outcome, *, reason: str = "") -> Carried:
        """Say it in the log, after everything is recorded."""
        account, meta = loaded.account, dict(loaded.account.meta) or None
        if outcome is Outcome.SENT:
            last = next(reversed(account.recipients.values()))
            log.job_sent(
                job=loaded.job.name,
                relay=last.relay or "",
                message_id=account.message_id,
                size=account.size or 0,
                recipients=len(account.recipients),
                attempts=len(account.attempts),
                seconds=(self._now() - account.claimed).total_seconds(),
                reply=" ".join(str(part) for part in (last.code, last.text) if part),
                possible_duplicate=account.possible_duplicate or None,
                meta=meta,
            )
        else:
            log.job_failed(
                job=loaded.job.name,
                outcome=outcome.value,
                reason=reason or account.reason(outcome),
                attempts=len(account.attempts),
                meta=meta,
            )
        return Carried(next=Next.SETTLED, outcome=outcome)
