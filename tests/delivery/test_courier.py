"""A job's way to a relay and to rest: what every kind of answer leaves on disk."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from maildrop.delivery.commit import Commit
from maildrop.delivery.settle import Carried, Next
from maildrop.mail.model import InDoubt
from maildrop.smtp import Extensions, SessionFailed, Stage
from maildrop.spool import durable
from maildrop.spool.job import Job
from maildrop.spool.layout import State
from maildrop.spool.record import Outcome, Result, Status

A, B, C, D = (f"{letter}@example.org" for letter in "abcd")


def statuses(result: Result) -> list[str]:
    """Return the statuses of the recipients, in order."""
    return [recipient.status.value for recipient in result.recipients]


def no_space(*_args: Any, **_kwargs: Any) -> None:
    """Fail like a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_delivered_job_is_in_sent_with_the_relays_words(house: Any, session: Any) -> None:
    """The 2yz after the dot puts the job into sent, with reply, queue id, peer and attempt."""
    carried = house.carry(house.job(A, B, lines="[meta]\nticket = 7"), first := session())
    assert carried == Carried(next=Next.SETTLED, outcome=Outcome.SENT, healthy=True)
    assert house.where() == "sent"
    result = house.result()
    assert (result.outcome, result.reason) == (Outcome.SENT, "accepted by relay main for 2 recipients")
    assert not result.possible_duplicate
    assert result.meta == {"ticket": 7}
    assert result.size == len(first.received[0])
    assert [(one.address, one.status, one.relay, one.stage, one.code, one.enhanced, one.text, one.queue_id)
            for one in result.recipients] == [
        (path, Status.DELIVERED, "main", "data-end", 250, "2.0.0", "2.0.0 Ok: queued as 4F2x", "4F2x")
        for path in (A, B)
    ]  # fmt: skip
    (attempt,) = result.attempts
    assert (attempt.number, attempt.relay, attempt.peer) == (1, "main", first.peer)
    assert (attempt.tls, attempt.result) == (first.tls, "delivered 2, deferred 0, rejected 0")


def test_the_record_stands_before_anything_else_happens(house: Any, session: Any) -> None:
    """When ``record`` returns, the job has moved to sent, and its result says so without the reply's words."""
    first = session()
    seen: list[Result] = []
    real = Job.finish
    first.at_record = lambda: seen.append(house.result())

    def finish(job: Job, result: Result) -> None:
        assert house.where() == "sent"
        seen.append(house.result())
        real(job, result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "finish", finish)
        house.carry(house.job(A), first)
    prepared, accepted = seen
    assert prepared == accepted
    assert prepared.outcome is Outcome.SENT
    assert prepared.recipients[0].status is Status.DELIVERED
    assert (prepared.recipients[0].code, prepared.recipients[0].text) == (None, None)


def test_a_session_is_used_again(house: Any, session: Any) -> None:
    """The next job goes over the same session."""
    house.carry(house.job(A, name="one"), first := session())
    house.carry(house.job(A, name="two"))
    assert first.messages == 2
    assert house.where("two") == "sent"


@pytest.mark.parametrize(
    ("script", "folder", "outcome", "reason"),
    [
        ({"mail": 450}, "deferred", Outcome.DEFERRED, f"{A} deferred at mail: 450 MAIL"),
        ({"mail": 550}, "failed", Outcome.FAILED, f"{A} rejected at mail: 550 MAIL"),
        ({"rcpt": {A: 450}}, "deferred", Outcome.DEFERRED, f"{A} deferred at rcpt: 450 4.1.1 RCPT"),
        ({"rcpt": {A: 550}}, "failed", Outcome.FAILED, f"{A} rejected at rcpt: 550 5.1.1 RCPT"),
        ({"data": 451}, "deferred", Outcome.DEFERRED, f"{A} deferred at data: 451 DATA"),
        ({"data": 554}, "failed", Outcome.FAILED, f"{A} rejected at data: 554 DATA"),
        ({"dot": 451}, "deferred", Outcome.DEFERRED, f"{A} deferred at data-end: 451 4.7.1 dot"),
        ({"dot": 554}, "failed", Outcome.FAILED, f"{A} rejected at data-end: 554 5.7.1 dot"),
    ],
)
def test_a_refusal_is_recorded_with_its_reason(
    script: dict[str, Any], house: Any, session: Any, say: Any, *, folder: str, outcome: Outcome, reason: str
) -> None:
    """4yz defers and 5yz fails, with the relay's words as the reason and the dialog beside it."""
    carried = house.carry(house.job(A), first := session(say(**script)))
    assert (carried.outcome, carried.healthy, carried.failure) == (outcome, True, None)
    assert house.where() == folder
    result = house.result()
    assert (result.outcome, result.reason) == (outcome, reason)
    assert len(result.attempts) == 1
    assert (house.path / folder / "job" / "transcript.log").read_text().startswith("C: MAIL FROM:<me@example.com>")
    assert first.parted == ""
    if folder == "deferred":
        assert result.next_attempt == carried.due == house.now + timedelta(seconds=60)
    else:
        assert result.next_attempt is None


def test_three_recipients_three_answers(house: Any, session: Any, say: Any) -> None:
    """250, 450 and 550: one is delivered, one waits, one is rejected, and the retry goes to who is left."""
    house.carry(house.job(A, B, C), session(say(rcpt={B: 450, C: 550})))
    assert house.where() == "deferred"
    result = house.result()
    assert statuses(result) == ["delivered", "deferred", "rejected"]
    assert result.attempts[0].result == "delivered 1, deferred 1, rejected 1"
    assert result.reason == (f"delivered to 1 recipient, but {B} deferred at rcpt: 450 4.1.1 RCPT")
    house.now += timedelta(minutes=1)
    loaded = house.again()
    assert loaded.account.open_paths == (B,)
    carried = house.carry(loaded, second := session())
    assert second.asked == [(B,)]
    assert carried.outcome is Outcome.PARTIAL
    assert house.where() == "failed"
    final = house.result()
    assert statuses(final) == ["delivered", "delivered", "rejected"]
    assert [attempt.number for attempt in final.attempts] == [1, 2]
    assert final.reason == f"delivered to 2 recipients, but {C} rejected at rcpt: 550 5.1.1 RCPT"
    assert not final.possible_duplicate


def test_each_attempt_is_the_same_mail(house: Any, session: Any, say: Any) -> None:
    """A retry sends the same octets with the same Message-ID, under a recorded digest."""
    house.carry(house.job(A, B), first := session(say(rcpt={B: 450})))
    house.now += timedelta(days=1)
    house.carry(house.again(), second := session())
    assert first.received == second.received
    result = house.result()
    assert result.digest is not None
    assert result.digest.startswith("sha256:")
    assert f"Message-ID: {result.message_id}".encode() in first.received[0]


def test_452_after_one_was_accepted_makes_a_further_transaction_at_once(house: Any, session: Any, say: Any) -> None:
    """Recipients over the relay's limit follow in a second transaction of the same attempt."""
    house.carry(house.job(A, B, C), first := session(say(rcpt={B: 452, C: 452}), say()))
    assert first.asked == [(A, B, C), (B, C)]
    assert house.where() == "sent"
    result = house.result()
    assert statuses(result) == ["delivered"] * 3
    assert [attempt.result for attempt in result.attempts] == ["delivered 3, deferred 0, rejected 0"]


def test_many_recipients_are_split(house: Any, session: Any) -> None:
    """``recipients_per_message`` splits a mail into transactions; each acceptance is recorded as it happens."""
    house.relays["main"] = house.relay("main", recipients_per_message=2)
    records: list[list[str]] = []
    first = session()
    first.at_record = lambda: records.append(statuses(house.result()) if first.messages > 1 else [])
    house.carry(house.job(A, B, C), first)
    assert first.asked == [(A, B), (C,)]
    assert records == [[], ["delivered"] * 3]
    assert house.where() == "sent"


def test_after_a_refused_message_the_rest_is_not_asked(house: Any, session: Any, say: Any) -> None:
    """A message that was refused as such is not offered to the second half of its recipients."""
    house.relays["main"] = house.relay("main", recipients_per_message=1)
    house.carry(house.job(A, B), first := session(say(dot=554)))
    assert first.asked == [(A,)]
    assert statuses(house.result()) == ["rejected", "pending"]
    assert house.where() == "deferred"


def test_a_refused_recipient_does_not_keep_the_rest_from_being_asked(house: Any, session: Any, say: Any) -> None:
    """When all recipients of one transaction are refused, the next transaction is tried all the same."""
    house.relays["main"] = house.relay("main", recipients_per_message=1)
    house.carry(house.job(A, B), first := session(say(rcpt={A: 550})))
    assert first.asked == [(A,), (B,)]
    assert statuses(house.result()) == ["rejected", "delivered"]
    assert house.where() == "failed"


def test_all_or_nothing_sends_to_nobody_when_one_is_refused(house: Any, session: Any, say: Any) -> None:
    """One refused recipient fails an all-or-nothing job before DATA; the others stay pending."""
    house.carry(house.job(A, B, lines='partial = "all-or-nothing"'), first := session(say(rcpt={B: 550})))
    assert first.received == []
    assert first.transactions[0].all_or_nothing
    assert house.where() == "failed"
    assert statuses(house.result()) == ["pending", "rejected"]
    assert house.result().outcome is Outcome.FAILED


def test_all_or_nothing_waits_when_one_is_deferred(house: Any, session: Any, say: Any) -> None:
    """One deferred recipient defers an all-or-nothing job for all, in one transaction whatever the limit."""
    house.relays["main"] = house.relay("main", recipients_per_message=1)
    house.carry(house.job(A, B, lines='partial = "all-or-nothing"'), first := session(say(rcpt={B: 450})))
    assert first.asked == [(A, B)]
    assert house.where() == "deferred"
    assert statuses(house.result()) == ["pending", "deferred"]
    house.carry(house.again(), session())
    assert house.where() == "sent"


# In doubt


def test_in_doubt_resend_goes_again_and_says_so(house: Any, session: Any, say: Any) -> None:
    """By default a lost answer means another try later, flagged as a possible duplicate, the same octets."""
    house.carry(house.job(A, B), first := session(say(rcpt={B: 550}, dot=0)))
    assert house.where() == "deferred"
    result = house.result()
    assert statuses(result) == ["deferred", "rejected"]
    assert result.possible_duplicate
    assert result.attempts[0].result == "delivered 0, deferred 0, rejected 1, in doubt 1"
    assert first.parted == "abort"
    house.carry(house.again(), second := session())
    final = house.result()
    assert (second.asked, final.outcome, final.possible_duplicate) == ([(A,)], Outcome.PARTIAL, True)


def test_in_doubt_hold_waits_for_a_person(house: Any, session: Any, say: Any) -> None:
    """``hold`` puts the job into failed, the recipient in doubt, and sends nothing more."""
    carried = house.carry(house.job(A, lines='in_doubt = "hold"'), session(say(dot=0)))
    assert (carried.outcome, house.where()) == (Outcome.IN_DOUBT, "failed")
    result = house.result()
    assert statuses(result) == ["in-doubt"]
    assert not result.possible_duplicate
    assert "in doubt" in result.reason


def test_in_doubt_assume_sent_counts_as_sent(house: Any, session: Any, say: Any) -> None:
    """``assume-sent`` puts the job into sent with its recipients in doubt, and sends nothing more."""
    carried = house.carry(house.job(A, lines='in_doubt = "assume-sent"'), session(say(dot=0)))
    assert (carried.outcome, house.where()) == (Outcome.SENT, "sent")
    result = house.result()
    assert (statuses(result), result.possible_duplicate) == (["in-doubt"], False)
    assert "in doubt" in result.reason


def test_assume_sent_is_remembered_when_another_recipient_is_deferred(house: Any, session: Any, say: Any) -> None:
    """A job that had to wait for somebody else ends in sent, though one of its recipients was assumed to be sent to."""
    house.relays["main"] = house.relay("main", in_doubt=InDoubt.ASSUME_SENT)
    house.carry(house.job(A, B), session(say(rcpt={B: 450}, dot=0)))
    assert house.where() == "deferred"
    carried = house.carry(house.again(), second := session())
    assert (carried.outcome, house.where()) == (Outcome.SENT, "sent")
    assert second.asked == [(B,)]
    assert statuses(house.result()) == ["in-doubt", "delivered"]


def test_the_relays_policy_counts_where_the_envelope_has_none(house: Any, session: Any, say: Any) -> None:
    """The envelope's ``in_doubt`` wins over the relay's, which wins over resend."""
    house.relays["main"] = house.relay("main", in_doubt=InDoubt.HOLD)
    house.carry(house.job(A, name="one"), session(say(dot=0)))
    house.carry(house.job(A, name="two", lines='in_doubt = "resend"'), session(say(dot=0)))
    assert (house.where("one"), house.where("two")) == ("failed", "deferred")


def test_a_doubt_about_some_does_not_touch_the_delivered(house: Any, session: Any, say: Any) -> None:
    """When the second transaction is in doubt, the first one's recipients stay delivered and get no second copy."""
    house.relays["main"] = house.relay("main", recipients_per_message=1)
    house.carry(house.job(A, B), session(say(), say(dot=0)))
    assert statuses(house.result()) == ["delivered", "deferred"]
    house.carry(house.again(), second := session())
    assert second.asked == [(B,)]


# Sessions that break


def test_a_stale_session_is_replaced_at_once_and_costs_nothing(house: Any, session: Any, say: Any) -> None:
    """A reused session that proves dead before MAIL was answered is no attempt and no interruption."""
    house.carry(house.job(A, name="one"), first := session(say(), say(stale=True)))
    carried = house.carry(house.job(A, name="two"), second := session())
    assert carried.outcome is Outcome.SENT
    assert (first.parted, second.messages) == ("abort", 1)
    assert len(house.result("two").attempts) == 1


def test_a_stale_session_after_the_first_transaction_sends_nobody_a_second_copy(
    house: Any, session: Any, say: Any
) -> None:
    """A reused session that dies between two transactions of a mail is replaced for the recipients who are left."""
    house.relays["main"] = house.relay("main", recipients_per_message=1)
    house.carry(house.job(A, name="one"), first := session(say(), say(), say(stale=True)))
    house.carry(house.job(B, C, name="two"), second := session())
    assert first.asked == [(A,), (B,), (C,)]
    assert second.asked == [(C,)]
    assert house.where("two") == "sent"
    assert [attempt.result for attempt in house.result("two").attempts] == ["delivered 2, deferred 0, rejected 0"]


@pytest.mark.parametrize(
    "script", [{"mail": 0}, {"rcpt": {A: 0}}, {"data": 0}, {"lose_before_dot": True}, {"mail": 421}]
)
def test_a_session_lost_before_the_dot_counts_nothing(
    script: dict[str, Any], house: Any, session: Any, say: Any
) -> None:
    """The job stays in active for the front of the line, without an attempt and without a doubt."""
    loaded = house.job(A)
    carried = house.carry(loaded, first := session(say(**script)))
    assert (carried.next, carried.broken, carried.outcome) == (Next.AGAIN, True, None)
    assert house.where() == "active"
    assert house.relays["main"].take_parting(0.0) == [first]
    assert house.load("job").doubt == ()
    assert house.load("job").account.attempts == []
    house.carry(loaded, session())
    assert not house.result().possible_duplicate
    assert len(house.result().attempts) == 1


def test_a_prepared_record_is_withdrawn_when_the_session_breaks_before_the_dot(
    house: Any, session: Any, say: Any
) -> None:
    """What was prepared for a yes that was never asked for raises no doubt after a crash."""
    house.carry(house.job(A), session(say(lose_before_dot=True)))
    result = house.result()
    assert (result.outcome, statuses(result), result.attempts) == (Outcome.DEFERRED, ["pending"], ())
    assert not (house.path / "active" / "job" / "result.next").exists()


def test_a_message_that_breaks_five_sessions_waits_like_a_deferral(house: Any, session: Any, say: Any) -> None:
    """The fifth broken session of one message is a deferral that is counted."""
    loaded = house.job(A)
    for broken in range(4):
        carried = house.carry(loaded, session(say(data=0)), broken=broken)
        assert carried.next is Next.AGAIN
    carried = house.carry(loaded, session(say(data=0)), broken=4)
    assert (carried.next, house.where()) == (Next.DEFERRED, "deferred")
    result = house.result()
    assert "this message broke 5 sessions" in result.reason
    assert len(result.attempts) == 1


def test_a_loss_in_the_second_transaction_keeps_what_the_first_delivered(house: Any, session: Any, say: Any) -> None:
    """When the session breaks, recipients of an earlier transaction keep their answers: delivered or deferred."""
    house.relays["main"] = house.relay("main", recipients_per_message=2)
    loaded = house.job(A, B, C, D)
    carried = house.carry(loaded, session(say(rcpt={B: 450}), say(data=0)))
    house.part()
    assert carried.next is Next.AGAIN
    assert statuses(house.result()) == ["delivered", "deferred", "pending", "pending"]
    house.carry(loaded, second := session())
    assert second.asked == [(C, D)]
    assert statuses(house.result()) == ["delivered", "deferred", "delivered", "delivered"]
    assert house.where() == "deferred"


@pytest.mark.parametrize("configuration", [False, True])
def test_no_session_is_the_relays_fault(
    house: Any, refused: Callable[..., SessionFailed], *, configuration: bool
) -> None:
    """A relay that can't be reached costs no attempt: the job stays for the coordinator to hold the relay."""
    failure = refused(Stage.AUTH, configuration=configuration)
    carried = house.carry(house.job(A), failure)
    assert carried == Carried(next=Next.AGAIN, failure=failure)
    assert house.where() == "active"
    assert house.load("job").account.attempts == []


def test_credentials_asked_for_at_mail_are_configuration(house: Any, session: Any, say: Any) -> None:
    """530 to MAIL holds the relay and fails no job."""
    carried = house.carry(house.job(A), first := session(say(mail=530)))
    assert carried.next is Next.AGAIN
    assert carried.failure is not None
    assert carried.failure.configuration
    assert (house.where(), first.parted) == ("active", "abort")


def test_an_accepted_mail_stays_accepted_beside_a_530(house: Any, session: Any, say: Any) -> None:
    """A 530 to one recipient does not undo the delivery to another, which would be sent twice."""
    house.carry(house.job(A, B), first := session(say(rcpt={B: 530})))
    assert statuses(house.result()) == ["delivered", "deferred"]
    assert (house.where(), len(first.received)) == ("deferred", 1)
    house.carry(house.again(), second := session())
    assert second.asked == [(B,)]


# What the message itself makes impossible


@pytest.mark.parametrize(
    ("lines", "extensions", "text"),
    [
        ("", Extensions(names=frozenset({"SIZE"}), size_limit=10), "5.3.4 the message has"),
        ('cc = "jürgen@example.org"', Extensions(), "5.6.7 a non-ASCII address needs SMTPUTF8"),
    ],
)
def test_what_the_relay_can_not_take_fails_here(
    lines: str, extensions: Extensions, text: str, house: Any, session: Any
) -> None:
    """A message that is too large or needs what the relay lacks is refused by ourselves, before MAIL."""
    house.carry(house.job(A, lines=lines), first := session(extensions=extensions))
    assert first.asked == []
    assert house.where() == "failed"
    recipient = house.result().recipients[0]
    assert (recipient.status, recipient.stage) == (Status.REJECTED, "local")
    assert (recipient.text or "").startswith(text)
    assert recipient.enhanced == text[:5]


def test_the_configured_size_counts_too(house: Any, session: Any) -> None:
    """The smaller of the relay's SIZE and ``max_message_size`` is the limit."""
    house.relays["main"] = house.relay("main", max_message_octets=20)
    house.carry(house.job(A), session(extensions=Extensions(names=frozenset({"SIZE"}), size_limit=10**6)))
    assert "takes at most 20" in house.result().reason


def test_utf8_addresses_travel_where_the_relay_can(house: Any, session: Any) -> None:
    """A relay with SMTPUTF8 is asked for it."""
    house.carry(house.job(A, "jürgen@example.org"), first := session())
    assert first.transactions[0].smtputf8
    assert house.where() == "sent"


def test_an_8_bit_message_needs_8bitmime(house: Any, session: Any) -> None:
    """A finished 8-bit message is not sent to a relay that takes only 7 bits."""
    folder = house.path / "active" / "job"
    folder.mkdir()
    (folder / "message.eml").write_bytes(b"From: me@example.com\r\nTo: a@example.org\r\n\r\nM\xc3\xbcller\r\n")
    house.carry(house.load("job"), first := session(extensions=Extensions()))
    assert first.asked == []
    assert house.result().recipients[0].enhanced == "5.6.3"


def test_a_file_that_changes_on_the_way_stops_the_dot(house: Any, session: Any, say: Any) -> None:
    """A message that is not the one of the first attempt fails the job before the final dot, with the reason."""
    house.carry(house.job(A), session(say(dot=451)))
    (house.path / "deferred" / "job" / "body.txt").write_bytes(b"something else\n")
    house.carry(house.again(), second := session())
    assert second.received == []
    assert second.parted == "abort"
    assert house.where() == "failed"
    reason = house.result().reason
    assert "the message is no longer the one of the first attempt: " in reason
    assert "body.txt" in reason


def test_a_job_that_turns_invalid_remembers_who_has_got_it(house: Any, session: Any, say: Any) -> None:
    """A file that can't be read at the second attempt fails the job; a retry must not reach the first recipient."""
    house.carry(house.job(A, B), session(say(rcpt={B: 450})))
    first = house.result()
    (house.path / "deferred" / "job" / "body.txt").unlink()
    (house.path / "deferred" / "job" / "body.txt").symlink_to("envelope.toml")
    house.carry(house.again(), session())
    assert (house.where(), house.result().outcome) == ("failed", Outcome.INVALID)
    result = house.result()
    assert statuses(result) == ["delivered", "deferred"]
    assert (result.message_id, result.digest, result.claimed) == (first.message_id, first.digest, first.claimed)
    assert (result.next_attempt, len(result.attempts)) == (None, 1)
    assert result.problems


def test_an_attachment_that_grows_while_it_is_sent_stops_the_dot(house: Any, session: Any) -> None:
    """A file that is written to after the claim aborts the transaction; the final dot is never sent."""
    house.write("job", [A], files={"body.txt": b"x", "data.bin": b"1234"}, lines='attachments = ["data.bin"]')
    loaded = house.load("job")
    compose = loaded.compose

    def compose_and_change() -> Any:
        message = compose()
        with (house.path / "active" / "job" / "data.bin").open("ab") as file:
            file.write(b"5")
        return message

    loaded.compose = compose_and_change
    house.carry(loaded, first := session())
    assert (first.received, first.parted) == ([], "abort")
    assert house.where() == "failed"
    assert "the file was changed while it was being read" in house.result().reason


def test_a_body_that_can_not_be_decoded_is_invalid(house: Any, session: Any) -> None:
    """What only composing finds out makes the job invalid, with every problem."""
    house.write("job", [A], files={"body.txt": b"\xff\xfe\xfd"})
    carried = house.carry(house.load("job"), session())
    assert (carried.outcome, house.where()) == (Outcome.INVALID, "failed")
    (problem,) = house.result().problems
    assert "body.txt" in problem.where


# This machine's fault


def test_a_full_disk_before_the_dot_blames_no_job(house: Any, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC while the record is prepared: no dot, no attempt, the job stays, and the trouble is handed back."""
    real = durable._write_all
    monkeypatch.setattr(durable, "_write_all", no_space)
    loaded = house.job(A)
    carried = house.carry(loaded, first := session())
    assert carried.next is Next.AGAIN
    assert carried.trouble is not None
    assert carried.trouble.errno == errno.ENOSPC
    assert (house.where(), first.received, first.parted) == ("active", [], "abort")
    monkeypatch.setattr(durable, "_write_all", real)
    house.carry(loaded, session())
    assert house.where() == "sent"
    assert len(house.result().attempts) == 1
    assert not house.result().possible_duplicate


def test_an_acceptance_is_recorded_as_soon_as_the_disk_allows(
    house: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the rename after the 2yz fails, it is repeated until it works: recorded once, never sent twice."""
    real, failures = Job.accept, [errno.EIO, errno.EROFS, errno.EIO]

    def accept(job: Job, completing_to: State | None) -> None:
        if failures:
            number = failures.pop()
            raise OSError(number, os.strerror(number))
        real(job, completing_to)

    monkeypatch.setattr(Job, "accept", accept)
    carried = house.carry(house.job(A), first := session())
    assert (carried.outcome, failures) == (Outcome.SENT, [])
    assert (house.where(), len(first.received)) == ("sent", 1)
    assert house.result().recipients[0].code == 250


def test_trouble_after_the_acceptance_changes_nothing_about_it(
    house: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the reply's words can't be added any more the job is sent all the same, and the trouble handed back."""
    monkeypatch.setattr(Job, "finish", no_space)
    carried = house.carry(house.job(A), session())
    assert (carried.outcome, house.where()) == (Outcome.SENT, "sent")
    assert carried.trouble is not None
    assert carried.trouble.errno == errno.ENOSPC
    assert house.result().outcome is Outcome.SENT


def test_a_sync_that_fails_after_a_refusal_is_handed_back(
    house: Any, session: Any, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The move to failed has happened; that it could not be synced is this machine's trouble."""

    async def sync(_commit: Commit, descriptor: int) -> None:
        if descriptor == house.spool.folder(State.FAILED):
            no_space()

    monkeypatch.setattr(Commit, "sync", sync)
    carried = house.carry(house.job(A), session(say(dot=554)))
    assert (carried.outcome, house.where()) == (Outcome.FAILED, "failed")
    assert carried.trouble is not None


def test_no_descriptors_left_blames_no_job(house: Any) -> None:
    """A connection that fails because this machine is out of descriptors pauses the work."""
    carried = house.carry(house.job(A), OSError(errno.EMFILE, "Too many open files"))
    assert (carried.next, house.where()) == (Next.AGAIN, "active")
    assert carried.trouble is not None


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), OSError(errno.EACCES, "Permission denied")])
def test_a_fault_of_our_own_sets_one_job_aside(error: Exception, house: Any, session: Any, say: Any) -> None:
    """A job that makes us stumble goes to failed with the reason; the next one is sent."""
    carried = house.carry(house.job(A, name="one"), session(say(raises=error)))
    assert (carried.outcome, house.where("one")) == (Outcome.FAILED, "failed")
    assert "maildropd stumbled over this job" in house.result("one").reason
    assert "please report it" in house.result("one").reason
    house.carry(house.job(A, name="two"), session())
    assert house.where("two") == "sent"


def test_a_fault_after_the_acceptance_does_not_undo_it(
    house: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was settled before we stumbled stays where it is."""

    def stumble(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Job, "finish", stumble)
    carried = house.carry(house.job(A), session())
    assert carried.next is Next.SETTLED
    assert house.where() == "sent"


def test_a_courier_cancelled_before_the_dot_leaves_no_doubt(house: Any, session: Any) -> None:
    """A courier that is stopped in the middle of the message leaves the job in active, and no session to be used."""
    started = asyncio.Event()
    first = session()

    async def deliver(_transaction: Any) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            first.abort()  # as a real session does

    first.deliver = deliver
    house.sessions.append(first)
    loaded = house.job(A)

    async def run() -> None:
        task = asyncio.create_task(house.courier().carry(loaded, loaded.open_legs[0], house.relays["main"], broken=0))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert house.where() == "active"
    assert house.relays["main"].take_parting(0.0) == [first]
    assert house.load("job").doubt == ()


# The dialog


@pytest.mark.parametrize(
    ("keep", "dot", "kept"),
    [
        ("failed", 250, False), ("failed", 451, True), ("failed", 554, True), ("always", 250, True),
        ("always", 554, True), ("never", 554, False),
    ],
)  # fmt: skip
def test_when_the_dialog_is_kept(keep: str, dot: int, house: Any, session: Any, say: Any, *, kept: bool) -> None:
    """``settle.transcript`` says whether the dialog lies beside the result."""
    house.transcript = keep
    house.carry(house.job(A), session(say(dot=dot)))
    assert (house.path / house.where() / "job" / "transcript.log").exists() == kept


def test_a_dialog_that_can_not_be_written_changes_nothing(
    house: Any, session: Any, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dialog is a comfort."""
    monkeypatch.setattr(Job, "write_transcript", no_space)
    house.carry(house.job(A), session(say(dot=554)))
    assert house.where() == "failed"


# The end of patience


def test_a_job_that_was_tried_long_enough_fails(house: Any, session: Any, say: Any) -> None:
    """After ``give_up`` a deferral is final, and the reason is the relay's last word."""
    house.carry(house.job(A), session(say(dot=451)))
    house.now += timedelta(days=5)
    carried = house.carry(house.again(), session(say(dot=451)))
    assert (carried.outcome, house.where()) == (Outcome.EXPIRED, "failed")
    assert house.result().reason == f"gave up: {A} deferred at data-end: 451 4.7.1 dot"


def test_expired_after_some_got_it_is_partial(house: Any, session: Any, say: Any) -> None:
    """A job that expires after some of its recipients got the mail is partial, not expired."""
    house.carry(house.job(A, B, lines='expires = "1h"'), session(say(rcpt={B: 450})))
    house.now += timedelta(hours=1)
    carried = house.carry(house.again(), session(say(rcpt={B: 450})))
    assert (carried.outcome, house.where()) == (Outcome.PARTIAL, "failed")
    assert house.result().reason.startswith("gave up: delivered to 1 recipient, but")
