"""Carries one job the whole way: compose, deliver, and settle or defer by what came of it.

A courier is a task with at most one session. It owns the job from the moment it is handed out until it hands back one
summary; relays' health and the agenda are the coordinator's. How an acceptance is recorded is ``visit``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from maildrop import log
from maildrop.delivery.commit import Commit
from maildrop.delivery.load import Loaded
from maildrop.delivery.outcome import Judgement, Scope, judge_loss
from maildrop.delivery.relay import Relay
from maildrop.delivery.retry import MAX_BROKEN_SESSIONS, RetrySettings, next_attempt
from maildrop.delivery.route import Leg
from maildrop.delivery.visit import MessageChanged, Visit
from maildrop.errors import InvalidJob
from maildrop.mail.envelope import InDoubt
from maildrop.mail.part import SourceChanged
from maildrop.smtp import Session, SessionFailed, SessionLost, Stage
from maildrop.smtp.steps import Fault
from maildrop.spool.durable import is_local_trouble
from maildrop.spool.job import Job
from maildrop.spool.layout import State
from maildrop.spool.record import Outcome, Result, Status


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
    healthy: bool = False  # the relay took part in a conversation
    failure: SessionFailed | None = None  # the relay could not be used
    broken: bool = False  # this message broke a session before its end
    trouble: OSError | None = None  # this machine's fault


@dataclass(frozen=True, slots=True, kw_only=True)
class CourierSettings:
    """What the configuration says about carrying and settling."""

    retry: RetrySettings
    transcript: str = "failed"  # failed, always, never


class Courier:
    """Carries jobs; holds nothing but settings and the ways to the clock, the dice and the commit."""

    def __init__(
        self, settings: CourierSettings, *, commit: Commit, now: Callable[[], datetime], dice: Callable[[], float]
    ) -> None:
        """Take the clock (UTC) and the dice (0 to 1) as functions, so that decisions can be tested."""
        self.settings = settings
        self._commit = commit
        self._now = now
        self._dice = dice

    async def carry(self, loaded: Loaded, leg: Leg, relay: Relay, *, broken: int) -> Carried:
        """Carry one leg of the job to the relay; ``broken`` sessions have been lost by this message before."""
        try:
            message = loaded.compose()
            loaded.account.message_id = message.message_id
            loaded.account.size = message.size
            return await self._visit(
                Visit(
                    loaded=loaded,
                    leg=leg,
                    message=message,
                    relay=relay,
                    commit=self._commit,
                    now=self._now,
                    started=self._now(),
                    attempts_before=len(loaded.account.attempts),
                ),
                broken,
            )
        except InvalidJob as invalid:
            return await self.refuse(loaded.job, invalid, claimed=loaded.account.claimed)
        except (SourceChanged, MessageChanged) as changed:
            return await self._settle(loaded, Outcome.FAILED, reason=str(changed))
        except OSError as error:
            if not is_local_trouble(error):
                return await self.stumble(loaded.job, error, claimed=loaded.account.claimed)
            return Carried(next=Next.AGAIN, trouble=error)
        except Exception as error:  # our own fault: this job is set aside, the next one is sent
            return await self.stumble(loaded.job, error, claimed=loaded.account.claimed)

    async def _visit(self, visit: Visit, broken: int) -> Carried:
        loop = asyncio.get_running_loop()
        relay = visit.relay
        while True:
            try:
                session, reused = await relay.borrow(now=loop.time())
            except SessionFailed as failure:
                return Carried(next=Next.AGAIN, failure=failure)
            try:
                judgement = await visit.deliver(session)
            except SessionLost as lost:
                session.abort()
                if reused and lost.stale:  # it had died in the meantime; a new one costs nothing
                    continue
                return await self._decide(visit, session, judge_loss(lost, visit.asked), broken)
            except BaseException:
                session.abort()
                raise
            carried = await self._decide(visit, session, judgement, broken)
            relay.give_back(session, now=loop.time())
            return carried

    async def _decide(self, visit: Visit, session: Session, judgement: Judgement, broken: int) -> Carried:
        """Say what follows from a conversation."""
        loaded = visit.loaded
        if judgement.scope is Scope.CONFIGURATION:
            session.abort()
            await self._withdraw(visit)
            fault = Fault(stage=Stage.AUTH, what=judgement.why, configuration=True)
            failure = SessionFailed(visit.relay.name, fault)
            return Carried(next=Next.AGAIN, failure=failure)
        if judgement.scope is Scope.SESSION:
            session.abort()
            return await self._interrupted(visit, session, judgement, broken)
        if judgement.scope is Scope.IN_DOUBT:
            visit.enter(judgement, session)
            paths = tuple(one.path for one in judgement.verdicts if one.status is Status.IN_DOUBT)
            policy = loaded.delivery.in_doubt or visit.relay.settings.in_doubt
            self.doubt(loaded, paths, policy=policy, relay=visit.relay.name, why=judgement.why)
        failed = visit.settled is not State.SENT
        self._write_transcript(loaded.job, session, failed=failed)
        if visit.settled is not None:
            carried = self._settled(loaded, loaded.account.outcome())
            return replace(carried, healthy=True, trouble=visit.trouble)
        loaded.visited.update(visit.leg.forward_paths)
        return replace(await self.conclude(loaded), healthy=True)

    async def _interrupted(self, visit: Visit, session: Session, judgement: Judgement, broken: int) -> Carried:
        """Take the job to the front again after a lost session, unless this message loses them all the time."""
        loaded = visit.loaded
        if broken + 1 < MAX_BROKEN_SESSIONS:
            await self._withdraw(visit)
            stage = judgement.verdicts[0].stage
            log.job_interrupted(
                job=loaded.job.name, relay=visit.relay.name, stage=stage.value if stage else "", reason=judgement.why
            )
            return Carried(next=Next.AGAIN, broken=True, healthy=visit.settled is None)
        text = f"this message broke {broken + 1} sessions: {judgement.why}"
        verdicts = tuple(replace(one, status=Status.DEFERRED, text=text) for one in judgement.verdicts)
        visit.enter(replace(judgement, verdicts=verdicts), session)
        self._write_transcript(loaded.job, session, failed=True)
        loaded.visited.update(visit.leg.forward_paths)
        return await self.conclude(loaded)

    async def _withdraw(self, visit: Visit) -> None:
        """Take back a prepared record, so that a crash from here on raises no doubt; keep what is known."""
        if visit.prepared or visit.verdicts:
            visit.loaded.job.note(visit.account.result(Outcome.DEFERRED, reason="interrupted", finished=None))
            visit.prepared = False

    def doubt(
        self, loaded: Loaded, paths: tuple[str, ...], *, policy: InDoubt, relay: str | None, why: str
    ) -> None:  # fmt: skip
        """Decide about recipients for whom the final dot was sent and no reply recorded."""
        account = loaded.account
        log.job_doubt(job=loaded.job.name, relay=relay, reason=why, policy=policy.value)
        if policy is InDoubt.RESEND:
            text = f"in doubt, sent again: {why}"
            account.mark(paths, Status.DEFERRED, text=text, relay=relay)
            account.possible_duplicate = True
        else:
            account.mark(paths, Status.IN_DOUBT, text=why, relay=relay)
            account.assume_sent = policy is InDoubt.ASSUME_SENT

    def recover(self, loaded: Loaded, *, relay_policy: InDoubt) -> None:
        """Decide about a doubt that an earlier run left; what is sent again goes out at once. Durable on return."""
        why = "maildropd ended between the final dot and the record of the reply"
        account = loaded.account
        account.attempts[-1:] = [replace(last, result=f"in doubt: {why}") for last in account.attempts[-1:]]
        policy = loaded.delivery.in_doubt or relay_policy
        self.doubt(loaded, loaded.doubt, policy=policy, relay=None, why=why)
        loaded.doubt = ()
        loaded.job.note(account.result(account.outcome(), finished=None))

    async def conclude(self, loaded: Loaded) -> Carried:
        """Settle, defer, or pass on what an attempt left, as the account says."""
        account, job, now = loaded.account, loaded.job, self._now()
        outcome = account.outcome()
        if outcome is not Outcome.DEFERRED:
            return await self._settle(loaded, outcome)
        if loaded.open_legs:
            job.note(account.result(outcome, finished=None))
            return Carried(next=Next.ONWARD)
        due = next_attempt(
            self.settings.retry,
            attempts=len(account.attempts),
            claimed=account.claimed,
            expires=loaded.expires,
            now=now,
            dice=self._dice(),
        )
        if due is None:
            return await self._settle(loaded, Outcome.EXPIRED, reason=f"gave up: {account.reason(outcome)}")
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
        return Carried(next=Next.DEFERRED, outcome=Outcome.DEFERRED, due=due, trouble=trouble)

    async def expire(self, loaded: Loaded) -> Carried:
        """Fail a job whose time was over before it could be sent."""
        return await self._settle(loaded, Outcome.EXPIRED, reason="its time was over before it could be sent")

    async def refuse(self, job: Job, invalid: InvalidJob, *, claimed: datetime) -> Carried:
        """Move an invalid job to failed/ with every problem. Durable on return."""
        count = len(invalid.problems)
        more = f" (and {count - 1} more)" if count > 1 else ""
        result = Result(
            job=job.name,
            outcome=Outcome.INVALID,
            reason=f"{invalid.problems[0]}{more}",
            claimed=claimed,
            finished=self._now(),
            problems=invalid.problems,
        )
        job.settle(result, State.FAILED)
        trouble = await self._sync(job)
        log.job_failed(job=job.name, outcome=result.outcome.value, reason=result.reason, attempts=0, meta=None)
        return Carried(next=Next.SETTLED, outcome=Outcome.INVALID, trouble=trouble)

    async def stumble(self, job: Job, error: Exception, *, claimed: datetime) -> Carried:
        """Set a job aside that made maildropd itself stumble, so that it harms no other. Durable on return."""
        what = f"{type(error).__name__}: {error}"
        log.job_error(job=job.name, error=what)
        previous = job.read_result()
        result = (
            Result(job=job.name, outcome=Outcome.FAILED, reason="", claimed=claimed) if previous is None else previous
        )
        reason = f"maildropd stumbled over this job ({what}); please report it; 'maildropd retry' tries again"
        job.settle(replace(result, outcome=Outcome.FAILED, reason=reason, finished=self._now()), State.FAILED)
        trouble = await self._sync(job)
        return Carried(next=Next.SETTLED, outcome=Outcome.FAILED, trouble=trouble)

    async def _settle(self, loaded: Loaded, outcome: Outcome, *, reason: str = "") -> Carried:
        job = loaded.job
        result = loaded.account.result(outcome, reason=reason, finished=self._now())
        job.settle(result, State.SENT if outcome is Outcome.SENT else State.FAILED)
        trouble = await self._sync(job)
        return replace(self._settled(loaded, outcome, reason=reason), trouble=trouble)

    async def _sync(self, job: Job) -> OSError | None:
        """Make the job's last move durable; a failure is this machine's trouble, the move itself has happened."""
        try:
            await self._commit.directory(job.landing)
        except OSError as error:
            return error
        return None

    def _settled(self, loaded: Loaded, outcome: Outcome, *, reason: str = "") -> Carried:
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

    def _write_transcript(self, job: Job, session: Session, *, failed: bool) -> None:
        if self.settings.transcript == "always" or (failed and self.settings.transcript == "failed"):
            with contextlib.suppress(OSError):  # a comfort: no disk trouble may change the job's fate for it
                job.write_transcript(session.transcript.text())
