"""Why a job waits: the reason names the recipient that is waited for."""

from __future__ import annotations

from datetime import UTC, datetime

from maildrop.delivery.account import Account
from maildrop.delivery.outcome import Verdict
from maildrop.mail.envelope import Partial
from maildrop.smtp import Reply, Stage
from maildrop.spool.record import Outcome, Status

PATHS = ("gone@example.org", "there@example.org", "busy@example.org")


def account_of(*verdicts: Verdict) -> Account:
    """Make the account of a job for the three, with one word from the relay about each."""
    account = Account.open(
        job="j", claimed=datetime(2026, 11, 23, tzinfo=UTC), forward_paths=PATHS, partial=Partial.DELIVER, meta={},
        previous=None,
    )  # fmt: skip
    account.apply(verdicts, relay="main")
    return account


UNKNOWN = Reply(code=550, lines=("5.1.1 User unknown",))
OK = Reply(code=250, lines=("2.0.0 Ok",))
LATER = Reply(code=450, lines=("4.2.1 Mailbox busy",))
GONE = Verdict(path=PATHS[0], status=Status.REJECTED, stage=Stage.RCPT, reply=UNKNOWN)
THERE = Verdict(path=PATHS[1], status=Status.DELIVERED, stage=Stage.DATA_END, reply=OK)
BUSY = Verdict(path=PATHS[2], status=Status.DEFERRED, stage=Stage.RCPT, reply=LATER)


def test_a_deferred_job_names_who_is_waited_for() -> None:
    """One rejected recipient is not why a job waits; the deferred one is."""
    account = account_of(GONE, THERE, BUSY)
    said = "delivered to 1 recipient, but busy@example.org deferred at rcpt: 450 4.2.1 Mailbox busy"
    assert account.reason(Outcome.DEFERRED) == said


def test_a_partial_job_names_who_was_refused() -> None:
    """When nobody waits any more, the refusal is the reason."""
    account = account_of(GONE, THERE)
    said = "delivered to 1 recipient, but gone@example.org rejected at rcpt: 550 5.1.1 User unknown"
    assert account.reason(Outcome.PARTIAL) == said
