"""Whose fault is it? The table of failures, a row a line, and its fine print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from maildrop.delivery.outcome import Judgement, Scope, judge, judge_failure, judge_loss, outcome_of
from maildrop.smtp import Reply, SessionFailed, SessionLost, Stage, TransactionResult
from maildrop.smtp.steps import Fault
from maildrop.spool.record import Outcome, Status

A, B, C = "a@example.org", "b@example.org", "c@example.org"
DELIVERED, DEFERRED, REJECTED = Status.DELIVERED, Status.DEFERRED, Status.REJECTED
IN_DOUBT, PENDING = Status.IN_DOUBT, Status.PENDING


def said(code: int | None) -> Reply | None:
    """Make a reply that says its own code."""
    return None if code is None else Reply(code=code, lines=(f"said {code}",))


def some(code: int) -> Reply:
    """Make a reply that is surely there."""
    return Reply(code=code, lines=(f"said {code}",))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A conversation that came to its end, and the judgement about it."""

    mail: int | None = 250
    rcpt: Mapping[str, int] = field(default_factory=lambda: {A: 250, B: 250})
    data: int | None = 354
    end: int | None = 250
    scope: Scope = Scope.RECIPIENTS
    statuses: tuple[Status, ...] = (DELIVERED, DELIVERED)
    stages: tuple[Stage | None, ...] = (Stage.DATA_END, Stage.DATA_END)
    again: tuple[str, ...] = ()

    @property
    def result(self) -> TransactionResult:
        """Return the replies as the session gives them."""
        recipients = {path: some(code) for path, code in self.rcpt.items()}
        return TransactionResult(
            mail=said(self.mail), recipients=recipients, data=said(self.data), end=said(self.end),
            untried=tuple(path for path in (A, B) if path not in recipients),
        )  # fmt: skip


def refused_mail(code: int, status: Status) -> Row:
    """Refuse MAIL: one verdict for all."""
    return Row(
        mail=code, rcpt={}, data=None, end=None,
        scope=Scope.MESSAGE, statuses=(status, status), stages=(Stage.MAIL, Stage.MAIL),
    )  # fmt: skip


def refused_by_data(code: int, status: Status) -> Row:
    """Refuse DATA: every recipient that was accepted has it."""
    return Row(data=code, end=None, statuses=(status, status), stages=(Stage.DATA, Stage.DATA))


def after_the_dot(code: int, status: Status) -> Row:
    """Answer the message itself: every recipient that was accepted has it."""
    return Row(end=code, statuses=(status, status))


def second(code: int, status: Status, *, again: tuple[str, ...] = ()) -> Row:
    """Refuse the second recipient, deliver to the first."""
    return Row(rcpt={A: 250, B: code}, statuses=(DELIVERED, status), stages=(Stage.DATA_END, Stage.RCPT), again=again)


def nobody(scope: Scope, **replies: object) -> Row:
    """Decide about nobody."""
    values: dict[str, object] = {"data": None, "end": None, **replies}
    return Row(scope=scope, statuses=(PENDING, PENDING), stages=(None, None), **values)  # type: ignore[arg-type]


TABLE = {
    "all delivered": Row(),
    "251 to RCPT, delivered": Row(rcpt={A: 251, B: 252}),
    "another 2yz after the dot": Row(end=252),
    # The stage MAIL: the message's affair
    "MAIL 450": refused_mail(450, DEFERRED),
    "MAIL 452": refused_mail(452, DEFERRED),
    "MAIL 550": refused_mail(550, REJECTED),
    "MAIL 552": refused_mail(552, REJECTED),
    # The stage RCPT: the recipient's affair
    "RCPT 450": second(450, DEFERRED),
    "RCPT 451": second(451, DEFERRED),
    "RCPT 550": second(550, REJECTED),
    "RCPT 553": second(553, REJECTED),
    "RCPT 450 and 550": Row(
        rcpt={A: 450, B: 550}, data=None, end=None, statuses=(DEFERRED, REJECTED), stages=(Stage.RCPT, Stage.RCPT)
    ),
    # RCPT 452, 552 after one was accepted: transaction
    "RCPT 452 after one": second(452, PENDING, again=(B,)),
    "RCPT 552 after one": second(552, PENDING, again=(B,)),
    "RCPT 452 before one": Row(
        rcpt={A: 452, B: 250}, statuses=(PENDING, DELIVERED), stages=(Stage.RCPT, Stage.DATA_END), again=(A,)
    ),
    "RCPT 452 to all": Row(
        rcpt={A: 452, B: 452}, data=None, end=None, statuses=(DEFERRED, DEFERRED), stages=(Stage.RCPT, Stage.RCPT)
    ),
    "RCPT 552 to all": Row(
        rcpt={A: 552, B: 552}, data=None, end=None, statuses=(DEFERRED, DEFERRED), stages=(Stage.RCPT, Stage.RCPT)
    ),
    "RCPT 452 after one, then the message is refused": Row(
        rcpt={A: 250, B: 452}, end=554, statuses=(REJECTED, DEFERRED), stages=(Stage.DATA_END, Stage.RCPT)
    ),
    "RCPT 452 after one, and DATA was never asked for (all-or-nothing)": Row(
        rcpt={A: 250, B: 452}, data=None, end=None, statuses=(PENDING, DEFERRED), stages=(None, Stage.RCPT)
    ),
    "RCPT not answered, the other delivered": Row(
        rcpt={A: 250}, statuses=(DELIVERED, PENDING), stages=(Stage.DATA_END, None), again=(B,)
    ),
    # DATA, after the final dot: message
    "DATA 451": refused_by_data(451, DEFERRED),
    "DATA 554": refused_by_data(554, REJECTED),
    "dot 451": after_the_dot(451, DEFERRED),
    "dot 452": after_the_dot(452, DEFERRED),
    "dot 550": after_the_dot(550, REJECTED),
    "dot 552": after_the_dot(552, REJECTED),
    "dot 421 is a clear no": after_the_dot(421, DEFERRED),
    "DATA was never asked for (all-or-nothing)": Row(
        rcpt={A: 250, B: 550}, data=None, end=None, statuses=(PENDING, REJECTED), stages=(None, Stage.RCPT)
    ),
    # 421 anywhere: session
    "MAIL 421": nobody(Scope.SESSION, mail=421, rcpt={}),
    "RCPT 421": nobody(Scope.SESSION, rcpt={A: 250, B: 421}),
    "DATA 421": nobody(Scope.SESSION, data=421),
    # 530, 534, 535, 538 anywhere: configuration
    "MAIL 530": nobody(Scope.CONFIGURATION, mail=530, rcpt={}),
    "MAIL 534": nobody(Scope.CONFIGURATION, mail=534, rcpt={}),
    "MAIL 535": nobody(Scope.CONFIGURATION, mail=535, rcpt={}),
    "MAIL 538": nobody(Scope.CONFIGURATION, mail=538, rcpt={}),
    "RCPT 530": nobody(Scope.CONFIGURATION, rcpt={A: 530, B: 530}),
    "DATA 530": nobody(Scope.CONFIGURATION, data=530),
    "dot 535": nobody(Scope.CONFIGURATION, data=354, end=535),
    # What was accepted stays accepted, whatever else was said in the same transaction
    "RCPT 530 and yet delivered to the other": second(530, DEFERRED),
    "RCPT 421 and yet delivered to the other": second(421, DEFERRED),
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_the_table(row: Row) -> None:
    """Stage and reply decide about the scope and about each recipient."""
    judgement = judge(row.result, (A, B))
    assert judgement.scope is row.scope
    assert tuple(verdict.path for verdict in judgement.verdicts) == (A, B)
    assert tuple(verdict.status for verdict in judgement.verdicts) == row.statuses
    assert tuple(verdict.stage for verdict in judgement.verdicts) == row.stages
    assert judgement.again == row.again
    assert judgement.counted == (row.scope in (Scope.RECIPIENTS, Scope.MESSAGE))


def test_a_verdict_carries_the_reply_that_made_it() -> None:
    """Each recipient's verdict has the relay's own words: RCPT's for a refused one, the dot's for a delivered one."""
    first, last = judge(second(550, REJECTED).result, (A, B)).verdicts
    assert (first.reply, last.reply) == (said(250), said(550))


def test_configuration_and_session_say_why() -> None:
    """A judgement that decides about nobody says at which stage, and what was said."""
    assert judge(TABLE["MAIL 535"].result, (A, B)).why == "mail: 535 said 535"
    assert judge(TABLE["DATA 421"].result, (A, B)).why == "data: 421 said 421"


def lost(
    stage: Stage, *, in_doubt: bool, result: TransactionResult | None = None, reply: Reply | None = None
) -> SessionLost:
    """Make the loss of a session."""
    fault = Fault(stage=stage, what="the line was lost", reply=reply)
    result = TransactionResult() if result is None else result
    return SessionLost("main", fault, in_doubt=in_doubt, stale=False, result=result)


def statuses(judgement: Judgement) -> tuple[Status, ...]:
    """Return the statuses in order."""
    return tuple(verdict.status for verdict in judgement.verdicts)


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.RSET])
def test_a_session_lost_before_the_end_counts_nothing(stage: Stage) -> None:
    """A session that breaks before the final dot decides about nobody."""
    judgement = judge_loss(lost(stage, in_doubt=False), (A, B))
    assert (judgement.scope, statuses(judgement)) == (Scope.SESSION, (PENDING, PENDING))
    assert not judgement.counted
    assert "the line was lost" in judgement.why


def test_a_session_ended_by_a_configuration_code_is_configuration() -> None:
    """A relay that says 530 and hangs up wants credentials, not patience."""
    judgement = judge_loss(lost(Stage.MAIL, in_doubt=False, reply=said(530)), (A,))
    assert judgement.scope is Scope.CONFIGURATION


def test_a_session_lost_after_the_dot_is_in_doubt() -> None:
    """After the final dot the accepted recipients are in doubt, and those refused before have their own answer."""
    recipients = {A: some(250), B: some(550), C: some(452)}
    result = TransactionResult(mail=said(250), recipients=recipients, data=said(354))
    judgement = judge_loss(lost(Stage.DATA_END, in_doubt=True, result=result), (A, B, C))
    assert (judgement.scope, statuses(judgement)) == (Scope.IN_DOUBT, (IN_DOUBT, REJECTED, DEFERRED))
    assert judgement.counted
    assert judgement.verdicts[0].stage is Stage.DATA_END
    assert "the line was lost" in judgement.verdicts[0].text


@pytest.mark.parametrize(
    ("stage", "configuration", "scope"),
    [
        (Stage.LOOKUP, False, Scope.RELAY),
        (Stage.CONNECT, False, Scope.RELAY),
        (Stage.TLS, False, Scope.RELAY),
        (Stage.GREETING, False, Scope.RELAY),
        (Stage.EHLO, False, Scope.RELAY),
        (Stage.AUTH, False, Scope.RELAY),
        (Stage.STARTTLS, True, Scope.CONFIGURATION),
        (Stage.AUTH, True, Scope.CONFIGURATION),
    ],
)
def test_a_session_that_did_not_come_about(stage: Stage, scope: Scope, *, configuration: bool) -> None:
    """No session is the relay's or the configuration's fault, and no job's."""
    failed = SessionFailed("main", Fault(stage=stage, what="no", configuration=configuration))
    judgement = judge_failure(failed, (A, B))
    assert (judgement.scope, statuses(judgement)) == (scope, (PENDING, PENDING))
    assert not judgement.counted


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ((DELIVERED, DELIVERED), Outcome.SENT),
        ((DELIVERED, DEFERRED), Outcome.DEFERRED),
        ((REJECTED, DEFERRED), Outcome.DEFERRED),
        ((REJECTED, PENDING), Outcome.DEFERRED),
        ((IN_DOUBT, DEFERRED), Outcome.DEFERRED),
        ((DELIVERED, REJECTED), Outcome.PARTIAL),
        ((REJECTED, REJECTED), Outcome.FAILED),
        ((DELIVERED, IN_DOUBT), Outcome.IN_DOUBT),
        ((REJECTED, IN_DOUBT), Outcome.IN_DOUBT),
        ((IN_DOUBT,), Outcome.IN_DOUBT),
    ],
)
def test_what_a_job_has_come_to(found: tuple[Status, ...], outcome: Outcome) -> None:
    """The statuses of all recipients together are the outcome of the job."""
    assert outcome_of(found) is outcome
    assert outcome_of(tuple(reversed(found))) is outcome


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(code=550, lines=("5.4.5 Daily user sending limit exceeded. - gsmtp",)), DEFERRED),
        (
            Reply(code=554, lines=("5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; no",)),
            DEFERRED,
        ),
        (Reply(code=550, lines=("5.1.1 no such user",)), REJECTED),
        (Reply(code=554, lines=("5.2.0 mailbox disabled",)), REJECTED),
    ],
    ids=["gmail", "microsoft", "no-such-user", "another-5.2.0"],
)
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end"])
def test_a_quota_is_no_refusal(stage: str, reply: Reply, status: Status) -> None:
    """A daily limit in the clothes of a 5yz is over tomorrow: the mail waits, at whatever stage it is said."""
    yes, go = Reply(code=250, lines=("ok",)), Reply(code=354, lines=("go",))
    result = TransactionResult(
        mail=reply if stage == "mail" else yes,
        recipients={} if stage == "mail" else {A: reply if stage == "rcpt" else yes},
        data=reply if stage == "data" else None if stage in ("mail", "rcpt") else go,
        end=reply if stage == "end" else None,
        untried=(A,) if stage == "mail" else (),
    )
    assert [one.status for one in judge(result, (A,)).verdicts] == [status]
