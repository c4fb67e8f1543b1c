"""The account of a job while it is being worked on: what became of each recipient, and the result that says so.

Pure: verdicts go in, a ``Result`` comes out; the time is passed in. The same account, with the relay's yes assumed,
gives the record that is prepared before the final dot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from maildrop.delivery.outcome import Verdict, outcome_of
from maildrop.mail.envelope import InDoubt, Partial
from maildrop.smtp import Reply, Stage
from maildrop.spool.record import AttemptResult, Outcome, RecipientResult, Result, Status

_DONE = frozenset({Status.DELIVERED, Status.REJECTED, Status.IN_DOUBT})  # in doubt: a policy or a person has decided


@dataclass(slots=True, kw_only=True)
class Account:
    """Recipients in the envelope's order, attempts, and what the message is."""

    job: str
    claimed: datetime
    partial: Partial = Partial.DELIVER
    message_id: str = ""
    size: int | None = None
    digest: str | None = None
    possible_duplicate: bool = False
    in_doubt: InDoubt | None = None  # the policy that decided about recipients in doubt
    recipients: dict[str, RecipientResult] = field(default_factory=dict)
    attempts: list[AttemptResult] = field(default_factory=list)
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(
        cls, *, job: str, claimed: datetime, forward_paths: Sequence[str], partial: Partial, meta: Mapping[str, Any],
        previous: Result | None,
    ) -> Account:  # fmt: skip
        """Begin with every recipient pending, or go on where the previous result stopped."""
        account = cls(job=job, claimed=claimed, partial=partial, meta=meta)
        known: dict[str, RecipientResult] = {}
        if previous is not None:
            known = {recipient.address: recipient for recipient in previous.recipients}
            account.claimed = previous.claimed
            account.message_id = previous.message_id or ""
            account.size = previous.size
            account.digest = previous.digest
            account.possible_duplicate = previous.possible_duplicate
            account.in_doubt = InDoubt(previous.in_doubt) if previous.in_doubt in set(InDoubt) else None
            account.attempts = list(previous.attempts)
        for path in forward_paths:
            account.recipients[path] = known.get(path) or RecipientResult(address=path, status=Status.PENDING)
        return account

    @property
    def open_paths(self) -> tuple[str, ...]:
        """Recipients that still want the mail."""
        return tuple(path for path, recipient in self.recipients.items() if recipient.status not in _DONE)

    def apply(self, verdicts: Iterable[Verdict], *, relay: str) -> None:
        """Enter what a transaction came to; a recipient that it says nothing new about keeps its last word."""
        for verdict in verdicts:
            if verdict.status is not Status.PENDING:
                self.recipients[verdict.path] = _recipient(verdict, relay)

    def assuming_accepted(
        self, paths: Sequence[str], verdicts: Iterable[Verdict], *, relay: str, stage: Stage
    ) -> Account:
        """Return the account as it will be if the relay says yes to ``paths``: delivered, the reply still unknown."""
        copy = replace(self, recipients=dict(self.recipients), attempts=list(self.attempts))
        copy.apply(verdicts, relay=relay)
        for path in paths:
            copy.recipients[path] = RecipientResult(
                address=path, status=Status.DELIVERED, relay=relay, stage=stage.value
            )
        return copy

    def mark(self, paths: Iterable[str], status: Status, *, text: str = "", relay: str | None = None) -> None:
        """Set a status that no reply gave: pending again, in doubt."""
        for path in paths:
            self.recipients[path] = RecipientResult(address=path, status=status, text=text or None, relay=relay)

    def outcome(self) -> Outcome:
        """Return what the job has come to so far."""
        statuses = [recipient.status for recipient in self.recipients.values()]
        if self.partial is Partial.ALL_OR_NOTHING and Status.REJECTED in statuses:
            return Outcome.PARTIAL if Status.DELIVERED in statuses else Outcome.FAILED
        if self.in_doubt is InDoubt.ASSUME_SENT:  # at most once: they count as delivered
            statuses = [Status.DELIVERED if status is Status.IN_DOUBT else status for status in statuses]
        return outcome_of(statuses)

    def attempted(
        self, *, started: datetime, seconds: float, relay: str, peer: str | None, tls: str | None,
        statuses: Collection[Status],
    ) -> None:  # fmt: skip
        """Count an attempt that came to these statuses."""
        tally = ", ".join(
            f"{word} {count}"
            for word, status in (
                ("delivered", Status.DELIVERED),
                ("deferred", Status.DEFERRED),
                ("rejected", Status.REJECTED),
                ("in doubt", Status.IN_DOUBT),
            )
            if (count := sum(one is status for one in statuses)) or status is not Status.IN_DOUBT
        )
        self.attempts.append(
            AttemptResult(
                number=len(self.attempts) + 1,
                started=started,
                seconds=round(seconds, 3),
                relay=relay,
                peer=peer,
                tls=tls,
                result=tally,
            )
        )

    def result(
        self, outcome: Outcome, *, reason: str = "", finished: datetime | None, next_attempt: datetime | None = None
    ) -> Result:
        """Return the result to write."""
        return Result(
            job=self.job,
            outcome=outcome,
            reason=reason or self.reason(outcome),
            message_id=self.message_id or None,
            size=self.size,
            digest=self.digest,
            claimed=self.claimed,
            finished=finished,
            next_attempt=next_attempt,
            possible_duplicate=self.possible_duplicate,
            in_doubt=self.in_doubt.value if self.in_doubt else None,
            recipients=tuple(self.recipients.values()),
            attempts=tuple(self.attempts),
            meta=self.meta,
        )

    def reason(self, outcome: Outcome) -> str:
        """Say in one sentence why the job is where it is."""
        delivered = [one for one in self.recipients.values() if one.status is Status.DELIVERED]
        if outcome is Outcome.SENT and len(delivered) == len(self.recipients):
            relays = dict.fromkeys(one.relay for one in delivered if one.relay)
            return f"accepted by relay {', '.join(relays)} for {_count(len(delivered))}"
        others = [one for one in self.recipients.values() if one.status is not Status.DELIVERED]
        waiting = [one for one in others if outcome is Outcome.DEFERRED and one.status is Status.DEFERRED]
        told = waiting or [one for one in others if one.status is not Status.PENDING] or others
        if not told:
            return outcome.value
        first = told[0]
        word = " ".join(str(part) for part in (first.code, first.text) if part)
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        where = f" at {first.stage}" if first.stage else ""
        lead = f"delivered to {_count(len(delivered))}, but " if delivered else ""
        return f"{lead}{first.address}{more} {_SAID[first.status]}{where}" + (f": {word}" if word else "")


_SAID = {
    Status.DELIVERED: "delivered",
    Status.DEFERRED: "deferred",
    Status.REJECTED: "rejected",
    Status.IN_DOUBT: "in doubt",
    Status.PENDING: "not tried",
}


def _count(number: int) -> str:
    return f"{number} recipient{'' if number == 1 else 's'}"


def _recipient(verdict: Verdict, relay: str) -> RecipientResult:
    reply: Reply | None = verdict.reply
    return RecipientResult(
        address=verdict.path,
        status=verdict.status,
        relay=relay,
        stage=verdict.stage.value if verdict.stage else None,
        code=reply.code if reply else None,
        enhanced=reply.enhanced if reply else None,
        text=(reply.text if reply else verdict.text) or None,
        queue_id=reply.queue_id if reply and verdict.status is Status.DELIVERED else None,
    )
