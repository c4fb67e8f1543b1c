"""Replies into what happened, for each recipient, and whose fault it is. Functions of values, nothing else.

Every failure has a scope, and only the message and its recipients can fail a job. The stage matters more than the
digit: a 5yz to AUTH is the configuration's fault, a 5yz after the final dot the message's (RFC 5321 4.2, 4.5.4.1; RFC
4954 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from maildrop.smtp import Reply, SessionFailed, SessionLost, Stage, TransactionResult
from maildrop.spool.record import Outcome, Status

CONFIGURATION_CODES = frozenset({530, 534, 535, 538})  # authentication, wherever they come (RFC 4954 6)
_CLOSING = 421
# Quotas in the clothes of a final refusal: tomorrow the same mail is welcome. Gmail's daily limit has a code of its own
# (RFC 3463 calls X.4.5 "mail system congestion"), Exchange Online's only a word behind a code that means anything.
_QUOTA_STATUS = "5.4.5"
_QUOTA_WORD = "submissionquotaexceeded"
_TOO_MANY = frozenset({452, 552})  # to RCPT: the recipient limit of this transaction (RFC 5321 4.5.3.1.10)


class Scope(StrEnum):
    """Whose affair a result is."""

    RECIPIENTS = "recipients"  # each has its own verdict
    MESSAGE = "message"  # one verdict for all recipients
    SESSION = "session"  # lost before the end of the message: again, nothing counted
    RELAY = "relay"  # held with backoff, nothing counted
    CONFIGURATION = "configuration"  # held until somebody acts or a long timer, nothing counted
    IN_DOUBT = "in-doubt"  # the final dot was sent and no reply read


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one recipient in a transaction; ``reply`` is the relay's word, ``text`` ours where it has none."""

    path: str
    status: Status
    stage: Stage | None = None
    reply: Reply | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a transaction came to. ``again`` are recipients that want a further transaction at once."""

    scope: Scope
    verdicts: tuple[Verdict, ...]
    again: tuple[str, ...] = ()
    why: str = ""

    @property
    def counted(self) -> bool:
        """Whether this was an attempt: the relay (or the doubt) decided about the message or its recipients."""
        return self.scope in (Scope.RECIPIENTS, Scope.MESSAGE, Scope.IN_DOUBT)


def judge(result: TransactionResult, paths: Sequence[str]) -> Judgement:
    """Judge a transaction whose conversation was complete; ``paths`` are the recipients that were asked for.

    What was accepted stays accepted: a 530 or 421 to one recipient then is that recipient's deferral.
    """
    if result.delivered:
        return _recipients(result, paths)
    for stage, reply in _replies(result):
        if reply.code in CONFIGURATION_CODES:
            return _pending(Scope.CONFIGURATION, paths, f"{stage}: {reply}")
        if reply.code == _CLOSING and stage not in (Stage.DATA_END, Stage.BDAT):
            return _pending(Scope.SESSION, paths, f"{stage}: {reply}")
    if result.mail is not None and result.mail.severity > 3:
        return _all(paths, Stage.MAIL, result.mail)
    return _recipients(result, paths)


def _replies(result: TransactionResult) -> Iterable[tuple[Stage, Reply]]:
    if result.mail is not None:
        yield Stage.MAIL, result.mail
    for reply in result.recipients.values():
        yield Stage.RCPT, reply
    if result.data is not None:
        yield Stage.DATA, result.data
    for end in (*result.ends.values(), result.end):
        if end is not None:
            yield result.end_stage, end


def _recipients(result: TransactionResult, paths: Sequence[str]) -> Judgement:
    accepted = set(result.accepted)
    verdicts: list[Verdict] = []
    again: list[str] = []
    for path in paths:
        reply = result.recipients.get(path)
        if path in accepted:
            verdicts.append(_end_of(path, result))
        elif reply is None:
            verdicts.append(Verdict(path=path, status=Status.PENDING))
            again.append(path)
        elif reply.code in _TOO_MANY and accepted:
            verdicts.append(Verdict(path=path, status=Status.PENDING, stage=Stage.RCPT, reply=reply))
            again.append(path)
        else:
            verdicts.append(Verdict(path=path, status=_refused_recipient(reply), stage=Stage.RCPT, reply=reply))
    # Without a delivery there is nobody the further transaction could follow: the recipients it left out wait.
    if any(verdict.status is Status.DELIVERED for verdict in verdicts):
        return Judgement(scope=Scope.RECIPIENTS, verdicts=tuple(verdicts), again=tuple(again))
    waiting = tuple(
        replace(one, status=Status.DEFERRED) if one.reply and one.path in again else one for one in verdicts
    )
    return Judgement(scope=Scope.RECIPIENTS, verdicts=waiting)


def _end_of(path: str, result: TransactionResult) -> Verdict:
    """Judge a recipient whose RCPT was accepted by what DATA and the message itself got."""
    end = result.end_for(path)
    if end is not None:
        return Verdict(path=path, status=_status(end), stage=result.end_stage, reply=end)
    if result.data is not None and result.data.severity > 3:
        return Verdict(path=path, status=_status(result.data), stage=Stage.DATA, reply=result.data)
    return Verdict(path=path, status=Status.PENDING)  # DATA was never asked for: all-or-nothing


def _refused_recipient(reply: Reply) -> Status:
    return Status.DEFERRED if reply.code in _TOO_MANY | CONFIGURATION_CODES else _status(reply)


def _is_quota(reply: Reply) -> bool:
    return reply.severity == 5 and (reply.enhanced == _QUOTA_STATUS or _QUOTA_WORD in reply.text.lower())


def _status(reply: Reply) -> Status:
    if _is_quota(reply):
        return Status.DEFERRED
    return {2: Status.DELIVERED, 4: Status.DEFERRED, 5: Status.REJECTED}.get(reply.severity, Status.DEFERRED)


def _all(paths: Sequence[str], stage: Stage, reply: Reply) -> Judgement:
    status = _status(reply)
    verdicts = tuple(Verdict(path=path, status=status, stage=stage, reply=reply) for path in paths)
    return Judgement(scope=Scope.MESSAGE, verdicts=verdicts)


def _pending(scope: Scope, paths: Sequence[str], why: str) -> Judgement:
    return Judgement(scope=scope, verdicts=tuple(Verdict(path=path, status=Status.PENDING) for path in paths), why=why)


def judge_loss(lost: SessionLost, paths: Sequence[str]) -> Judgement:
    """Judge a conversation that broke: in doubt after the final dot, else nothing happened.

    What an LMTP server had answered by then stands (RFC 2033 4.2).
    """
    if not lost.in_doubt:
        if lost.reply is not None and lost.reply.code in CONFIGURATION_CODES:
            return _pending(Scope.CONFIGURATION, paths, str(lost))
        return _pending(Scope.SESSION, paths, str(lost))
    accepted = {path for path in lost.result.accepted if lost.result.end_for(path) is None}
    rest = _recipients(lost.result, [path for path in paths if path not in accepted])
    refused = {verdict.path: verdict for verdict in rest.verdicts}
    verdicts = tuple(
        Verdict(path=path, status=Status.IN_DOUBT, stage=lost.stage, text=lost.what)
        if path in accepted
        else refused[path]
        for path in paths
    )
    return Judgement(scope=Scope.IN_DOUBT, verdicts=verdicts, why=lost.what)


def judge_failure(failed: SessionFailed, paths: Sequence[str]) -> Judgement:
    """Judge a session that did not come about: the relay's or the configuration's fault, never the job's."""
    return _pending(Scope.CONFIGURATION if failed.configuration else Scope.RELAY, paths, str(failed))


def outcome_of(statuses: Sequence[Status]) -> Outcome:
    """Return what a job came to, from the last status of each recipient (``in-doubt`` is what a policy left so)."""
    found = set(statuses)
    if found & {Status.PENDING, Status.DEFERRED}:
        return Outcome.DEFERRED
    if found <= {Status.DELIVERED}:
        return Outcome.SENT
    if Status.IN_DOUBT in found:
        return Outcome.IN_DOUBT
    return Outcome.PARTIAL if Status.DELIVERED in found else Outcome.FAILED
