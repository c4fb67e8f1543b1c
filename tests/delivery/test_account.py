"""The account of a job: statuses, outcome, attempts, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from maildrop.delivery.account import Account
from maildrop.delivery.outcome import Verdict
from maildrop.mail.envelope import InDoubt, Partial
from maildrop.smtp import Reply, Stage
from maildrop.spool.record import Outcome, RecipientResult, Result, Status, dump, load

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
A, B, C = "a@example.org", "b@example.org", "c@example.org"
REPLY = Reply(code=450, lines=("4.2.0 mailbox busy",))


def account(*paths: str, partial: Partial = Partial.DELIVER, previous: Result | None = None) -> Account:
    """Open an account."""
    return Account.open(
        job="j", claimed=NOW, forward_paths=paths or (A, B), partial=partial, meta={}, previous=previous
    )


def verdict(path: str, status: Status, *, stage: Stage | None = Stage.RCPT, reply: Reply | None = REPLY) -> Verdict:
    """Make a verdict."""
    return Verdict(path=path, status=status, stage=stage, reply=reply)


def with_statuses(statuses: Mapping[str, Status], *, partial: Partial = Partial.DELIVER) -> Account:
    """Open an account whose recipients have come to these statuses."""
    opened = account(*statuses, partial=partial)
    for path, status in statuses.items():
        opened.mark([path], status)
    return opened


def test_everybody_is_pending_at_first() -> None:
    """A new job has nobody delivered, in the envelope's order."""
    opened = account(B, A)
    assert opened.open_paths == (B, A)
    assert opened.outcome() is Outcome.DEFERRED
    assert {one.status for one in opened.recipients.values()} == {Status.PENDING}


def test_it_goes_on_where_the_record_stopped() -> None:
    """Delivered and rejected recipients of the record are closed; identity, attempts and doubt are kept."""
    first = account()
    first.message_id, first.size, first.digest, first.possible_duplicate = "<1@x>", 10, "sha256:0", True
    first.apply([verdict(A, Status.DELIVERED), verdict(B, Status.DEFERRED)], relay="main")
    first.attempted(started=NOW, seconds=1.0, relay="main", peer=None, tls=None, statuses=[Status.DEFERRED])
    previous = load(dump(first.result(Outcome.DEFERRED, finished=None)))
    second = account(A, B, C, previous=previous)
    assert second.open_paths == (B, C)
    assert (second.message_id, second.size, second.digest) == ("<1@x>", 10, "sha256:0")
    assert second.possible_duplicate
    assert len(second.attempts) == 1
    assert second.claimed == previous.claimed


@pytest.mark.parametrize("status", [Status.DELIVERED, Status.REJECTED, Status.IN_DOUBT])
def test_whoever_is_decided_is_closed(status: Status) -> None:
    """Delivered, rejected and (by policy) in doubt are the last word."""
    assert with_statuses({A: status, B: Status.DEFERRED}).open_paths == (B,)


def test_a_verdict_that_says_nothing_new_keeps_the_last_word() -> None:
    """A recipient who had no turn in a transaction keeps what an earlier one said."""
    opened = account()
    opened.apply([verdict(A, Status.DEFERRED)], relay="main")
    opened.apply([verdict(A, Status.PENDING, reply=None, stage=None)], relay="backup")
    assert opened.recipients[A].status is Status.DEFERRED
    assert opened.recipients[A].relay == "main"


def test_assuming_accepted_changes_a_copy_only() -> None:
    """The record for a yes is made of a copy: delivered without the reply's words."""
    opened = account()
    future = opened.assuming_accepted([A], [verdict(B, Status.REJECTED)], relay="main", stage=Stage.BDAT)
    assert future.recipients[A] == RecipientResult(address=A, status=Status.DELIVERED, relay="main", stage="bdat")
    assert future.recipients[B].status is Status.REJECTED
    assert future.outcome() is Outcome.PARTIAL
    assert opened.open_paths == (A, B)
    assert opened.attempts == []


def test_a_queue_id_is_only_taken_from_a_yes() -> None:
    """The relay's queue id is recorded for delivered recipients, whatever a refusal looks like."""
    reply = Reply(code=250, lines=("2.0.0 Ok: queued as 4F2x",))
    opened = account()
    opened.apply([verdict(A, Status.DELIVERED, reply=reply), verdict(B, Status.REJECTED, reply=reply)], relay="main")
    assert (opened.recipients[A].queue_id, opened.recipients[B].queue_id) == ("4F2x", None)


D, F, R, Q, P = Status.DELIVERED, Status.DEFERRED, Status.REJECTED, Status.IN_DOUBT, Status.PENDING


@pytest.mark.parametrize(
    ("statuses", "assume_sent", "partial", "outcome"),
    [
        ((D, D), False, Partial.DELIVER, Outcome.SENT),
        ((D, Q), False, Partial.DELIVER, Outcome.IN_DOUBT),
        ((D, Q), True, Partial.DELIVER, Outcome.SENT),
        ((R, Q), True, Partial.DELIVER, Outcome.PARTIAL),
        ((F, Q), True, Partial.DELIVER, Outcome.DEFERRED),
        ((P, R), False, Partial.ALL_OR_NOTHING, Outcome.FAILED),
        ((P, F), False, Partial.ALL_OR_NOTHING, Outcome.DEFERRED),
        ((D, R), False, Partial.ALL_OR_NOTHING, Outcome.PARTIAL),
        ((D, D), False, Partial.ALL_OR_NOTHING, Outcome.SENT),
    ],
)
def test_outcome_knows_the_policies(
    statuses: tuple[Status, Status], partial: Partial, outcome: Outcome, *, assume_sent: bool
) -> None:
    """``assume-sent`` and ``all-or-nothing`` change what the same statuses come to."""
    opened = with_statuses(dict(zip((A, B), statuses, strict=True)), partial=partial)
    opened.in_doubt = InDoubt.ASSUME_SENT if assume_sent else None
    assert opened.outcome() is outcome


def test_attempts_are_numbered_and_tallied() -> None:
    """An attempt says how many were delivered, deferred and rejected, and in doubt only if somebody is."""
    opened = account()
    opened.attempted(started=NOW, seconds=0.12345, relay="r", peer="p", tls="t", statuses=[D, D, F])
    opened.attempted(started=NOW, seconds=1, relay="r", peer=None, tls=None, statuses=[Q, R])
    first, second = opened.attempts
    assert (first.number, first.seconds, first.result) == (1, 0.123, "delivered 2, deferred 1, rejected 0")
    assert (second.number, second.result) == (2, "delivered 0, deferred 0, rejected 1, in doubt 1")


@pytest.mark.parametrize(
    ("verdicts", "outcome", "reason"),
    [
        ([(A, D), (B, D)], Outcome.SENT, "accepted by relay main for 2 recipients"),
        ([(A, D)], Outcome.SENT, "accepted by relay main for 1 recipient"),
        ([(A, F), (B, F)], Outcome.DEFERRED, f"{A} (and 1 more) deferred at rcpt: 450 4.2.0 mailbox busy"),
        ([(A, D), (B, R)], Outcome.PARTIAL,
         f"delivered to 1 recipient, but {B} rejected at rcpt: 450 4.2.0 mailbox busy"),
        ([(A, R), (B, F)], Outcome.DEFERRED, f"{B} deferred at rcpt: 450 4.2.0 mailbox busy"),
        ([(A, P), (B, R)], Outcome.FAILED, f"{B} rejected at rcpt: 450 4.2.0 mailbox busy"),
        ([(A, P), (B, P)], Outcome.DEFERRED, f"{A} (and 1 more) not tried"),
        ([(A, D), (B, D)], Outcome.EXPIRED, "expired"),
    ],
)  # fmt: skip
def test_the_reason_is_one_sentence(verdicts: list[tuple[str, Status]], outcome: Outcome, reason: str) -> None:
    """The reason names the relay of a success, else the first recipient that matters, the stage and the reply."""
    opened = account(*(path for path, _ in verdicts))
    opened.apply([verdict(path, status) for path, status in verdicts], relay="main")
    assert opened.reason(outcome) == reason


def test_two_relays_are_both_named() -> None:
    """A job that went two ways says both."""
    opened = account()
    opened.apply([verdict(A, D)], relay="one")
    opened.apply([verdict(B, D)], relay="two")
    assert opened.reason(Outcome.SENT) == "accepted by relay one, two for 2 recipients"


def test_a_job_without_recipients_left_has_a_reason_too() -> None:
    """No state of the account leaves the reason empty."""
    assert Account(job="j", claimed=NOW).reason(Outcome.FAILED) == "failed"
