"""Carries one job the whole way: compose, deliver, and settle or defer by what came of it.

A courier is a task with at most one session. It owns the job from the moment it is handed out until it hands back one
summary; relays' health and the agenda are the coordinator's. How an acceptance is recorded is ``visit``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from maildrop import log
from maildrop.delivery.commit import Commit
from maildrop.delivery.load import Loaded
from maildrop.delivery.mx import Nowhere
from maildrop.delivery.outcome import Judgement, Scope, Verdict, judge_loss
from maildrop.delivery.relay import NoTurn, Relay
from maildrop.delivery.retry import MAX_BROKEN_SESSIONS
from maildrop.delivery.route import Leg
from maildrop.delivery.settle import Carried, Next, Settler
from maildrop.delivery.visit import MessageChanged, Visit
from maildrop.errors import InvalidJob
from maildrop.mail.envelope import InDoubt
from maildrop.mail.part import SourceChanged
from maildrop.smtp import Reply, Session, SessionFailed, SessionLost, Stage, Transcript
from maildrop.smtp.steps import Fault
from maildrop.spool.durable import is_local_trouble
from maildrop.spool.job import Job
from maildrop.spool.layout import State
from maildrop.spool.record import Outcome, Status


class Courier:
    """Carries jobs; ``transcript`` says when the dialog is kept: failed, always or never."""

    def __init__(self, settler: Settler, *, transcript: str, commit: Commit, now: Callable[[], datetime]) -> None:
        """Take the clock (UTC) as a function, so that records can be tested."""
        self.settler = settler
        self._transcript = transcript
        self._commit = commit
        self._now = now

    async def carry(self, loaded: Loaded, leg: Leg, relay: Relay, *, broken: int) -> Carried:
        """Carry one leg of the job to the relay; ``broken`` sessions have been lost by this message before."""
        visit = None
        try:
            visit = self._prepare(loaded, leg, relay)
            return await self._visit(visit, broken)
        except InvalidJob as invalid:
            return await self.settler.refuse(loaded.job, invalid, claimed=loaded.account.claimed)
        except (SourceChanged, MessageChanged) as changed:
            return await self.settler.settle(loaded, Outcome.FAILED, reason=str(changed))
        except Exception as error:  # our own fault, or this machine's: this job is set aside, the next one is sent
            if isinstance(error, OSError) and is_local_trouble(error):
                with contextlib.suppress(OSError):
                    self._withdraw(visit)
                return Carried(next=Next.AGAIN, trouble=error)
            return await self.settler.stumble(loaded.job, error, claimed=loaded.account.claimed)

    def _prepare(self, loaded: Loaded, leg: Leg, relay: Relay) -> Visit:
        message = loaded.compose()
        loaded.account.message_id = message.message_id
        loaded.account.size = message.size
        return Visit(
            loaded=loaded,
            leg=leg,
            message=message,
            relay=relay,
            commit=self._commit,
            now=self._now,
            started=self._now(),
            attempts_before=len(loaded.account.attempts),
        )

    async def _visit(self, visit: Visit, broken: int) -> Carried:
        loop = asyncio.get_running_loop()
        relay = visit.relay
        while True:
            try:
                session, reused = await relay.borrow(clock=loop.time)
            except SessionFailed as failure:
                if relay.domain is None:
                    return Carried(next=Next.AGAIN, failure=failure)
                return await self._unreachable(visit, Status.DEFERRED, failure)
            except Nowhere as nowhere:
                return await self._unreachable(visit, Status.REJECTED, nowhere.reply)
            try:
                judgement = await visit.deliver(session)
                return await self._decide(visit, session, judgement, broken)
            except NoTurn:
                self._withdraw(visit)
                visit.loaded.visited.update(visit.decided)
                return Carried(next=Next.AGAIN, healthy=True)
            except SessionLost as lost:
                if reused and lost.stale:  # it had died in the meantime; a new one costs nothing
                    continue
                if lost.lacks_chunking:
                    relay.avoid_chunking()
                    continue
                return await self._decide(visit, session, judge_loss(lost, visit.asked), broken)
            finally:
                relay.give_back(session, now=loop.time())

    async def _unreachable(self, visit: Visit, status: Status, why: SessionFailed | Reply) -> Carried:
        """Conclude an attempt at a domain of the recipients' own: whose servers never answer, that is their fault."""
        loaded, failure = visit.loaded, why if isinstance(why, SessionFailed) else None
        reply = None if isinstance(why, SessionFailed) else why
        stage, text = (Stage.LOOKUP, "") if failure is None else (failure.stage, failure.what)
        paths = [path for path in visit.leg.forward_paths if path not in visit.decided]
        verdicts = (Verdict(path=path, status=status, stage=stage, reply=reply, text=text) for path in paths)
        visit.enter(Judgement(scope=Scope.RECIPIENTS, verdicts=tuple(verdicts)), None)
        loaded.visited.update(visit.leg.forward_paths)
        return replace(await self.settler.conclude(loaded), failure=failure)

    async def _decide(self, visit: Visit, session: Session, judgement: Judgement, broken: int) -> Carried:
        """Say what follows from a conversation."""
        loaded = visit.loaded
        if judgement.scope is Scope.CONFIGURATION:
            session.abort()
            self._withdraw(visit)
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
        self._write_transcript(loaded.job, visit.transcript or session.transcript, failed=failed)
        if visit.settled is not None:
            carried = self.settler.tell(loaded, loaded.account.outcome())
            return replace(carried, healthy=True, trouble=visit.trouble)
        loaded.visited.update(visit.leg.forward_paths)
        return replace(await self.settler.conclude(loaded), healthy=True)

    async def _interrupted(self, visit: Visit, session: Session, judgement: Judgement, broken: int) -> Carried:
        """Take the job to the front again after a lost session, unless this message loses them all the time."""
        loaded = visit.loaded
        if broken + 1 < MAX_BROKEN_SESSIONS:
            self._withdraw(visit)
            loaded.visited.update(visit.decided)
            stage = judgement.verdicts[0].stage
            log.job_interrupted(
                job=loaded.job.name, relay=visit.relay.name, stage=stage.value if stage else "", reason=judgement.why
            )
            return Carried(next=Next.AGAIN, broken=True, healthy=visit.settled is None)
        text = f"this message broke {broken + 1} sessions: {judgement.why}"
        verdicts = tuple(replace(one, status=Status.DEFERRED, text=text) for one in judgement.verdicts)
        visit.enter(replace(judgement, verdicts=verdicts), session)
        self._write_transcript(loaded.job, visit.transcript or session.transcript, failed=True)
        loaded.visited.update(visit.leg.forward_paths)
        return await self.settler.conclude(loaded)

    @staticmethod
    def _withdraw(visit: Visit | None) -> None:
        """Take back a prepared record, so that a crash from here on raises no doubt; keep what is known."""
        if visit is not None and visit.settled is None and (visit.prepared or visit.verdicts):
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
            account.in_doubt = policy

    def recover(self, loaded: Loaded, *, relay_policy: InDoubt) -> None:
        """Decide about a doubt that an earlier run left; what is sent again goes out at once. Durable on return."""
        why = "maildropd ended between the final dot and the record of the reply"
        account = loaded.account
        account.attempts[-1:] = [replace(last, result=f"in doubt: {why}") for last in account.attempts[-1:]]
        policy = loaded.delivery.in_doubt or relay_policy
        self.doubt(loaded, loaded.doubt, policy=policy, relay=None, why=why)
        loaded.doubt = ()
        loaded.job.note(account.result(account.outcome(), finished=None))

    def _write_transcript(self, job: Job, transcript: Transcript, *, failed: bool) -> None:
        if self._transcript == "always" or (failed and self._transcript == "failed"):
            with contextlib.suppress(OSError):  # a comfort: no disk trouble may change the job's fate for it
                job.write_transcript(transcript.text())
