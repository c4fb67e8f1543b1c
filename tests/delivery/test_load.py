"""What a claimed job says: the mail in it, where that goes, and what earlier attempts came to."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from maildrop.delivery.mailing import MailingSettings, Origin, read_mailing
from maildrop.delivery.route import Leg, Route
from maildrop.errors import InvalidJob
from maildrop.mail.envelope import InDoubt, Limits
from maildrop.smtp import Stage
from maildrop.spool.record import Outcome, RecordError, Result, Status

A, B = "a@example.org", "b@example.org"
EML = b"From: Me <me@example.com>\r\nTo: a@example.org\r\nSubject: hi\r\n\r\nHello\r\n"
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


def problems(load: Callable[[], Any]) -> list[str]:
    """Return the problems that loading reports."""
    with pytest.raises(InvalidJob) as invalid:
        load()
    return [str(problem) for problem in invalid.value.problems]


def octets(loaded: Any) -> bytes:
    """Return the composed message."""
    return b"".join(loaded.compose().chunks())


def test_a_new_job(house: Any) -> None:
    """A new job has its recipients pending, all relays in order, and an identity of clock and token."""
    loaded = house.job(A, B, lines='priority = 3\nin_doubt = "hold"')
    assert loaded.legs == (Leg(relays=("main",), forward_paths=(A, B)),)
    assert loaded.account.open_paths == (A, B)
    assert (loaded.delivery.priority, loaded.delivery.in_doubt) == (3, InDoubt.HOLD)
    assert (loaded.doubt, loaded.expires, loaded.not_before) == ((), None, None)
    assert b"Message-ID: <0123456789abcdef0123456789abcdef@here.example>\r\n" in octets(loaded)
    assert b"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n" in octets(loaded)


def test_a_finished_message_comes_out_alike(house: Any) -> None:
    """``message.eml`` has the same parts as an envelope: recipients, reverse-path, octets."""
    folder = house.path / "active" / "job"
    folder.mkdir()
    (folder / "message.eml").write_bytes(EML)
    loaded = house.load("job")
    assert loaded.delivery.forward_paths == (A,)
    assert loaded.delivery.reverse_path == "me@example.com"
    assert octets(loaded).startswith(b"From: Me <me@example.com>\r\n")


def test_an_envelope_beside_a_finished_message_sets_delivery_keys(house: Any) -> None:
    """Recipients, times and policy of the envelope win over the message's header fields."""
    folder = house.path / "active" / "job"
    folder.mkdir()
    (folder / "message.eml").write_bytes(EML)
    (folder / "envelope.toml").write_text(f'recipients = ["{B}"]\nreturn_path = ""\nexpires = "2h"\n', "utf-8")
    loaded = house.load("job")
    assert (loaded.delivery.forward_paths, loaded.delivery.reverse_path) == ((B,), "")
    assert loaded.expires == house.now + timedelta(hours=2)


def test_an_envelope_too_large_is_not_read(house: Any) -> None:
    """A sparse file that claims a terabyte is judged by its size."""
    house.write("job", [A])
    os.truncate(house.path / "active" / "job" / "envelope.toml", 1 << 40)
    (found,) = problems(lambda: house.load("job"))
    assert found.startswith("envelope.toml: has 1099511627776 octets; at most 65536 are read")


def test_a_folder_that_is_no_job(house: Any) -> None:
    """Without an envelope and a message there is nothing to send."""
    (house.path / "active" / "job").mkdir()
    (found,) = problems(lambda: house.load("job"))
    assert "there is neither envelope.toml nor message.eml in it" in found


def test_too_many_files(house: Any) -> None:
    """More files than a job may have are not even listed."""
    house.write("job", [A], files={f"file{number}": b"" for number in range(5)})
    settings = replace(house.settings, limits=Limits(files=3))
    assert problems(lambda: house.load("job", settings=settings))


def test_times_from_the_claim_and_absolute_ones(house: Any) -> None:
    """Durations count from the claim; a date-time without an offset is in this machine's time zone."""
    loaded = house.job(A, lines='not_before = "30m"\nexpires = 2026-11-24T00:00:00+02:00')
    assert loaded.not_before == house.now + timedelta(minutes=30)
    assert loaded.expires == datetime(2026, 11, 24, tzinfo=timezone(timedelta(hours=2)))
    naive = house.job(A, lines="not_before = 2026-11-24T00:00:00", name="naive")
    assert naive.not_before == datetime(2026, 11, 24).astimezone()  # the machine's own zone is meant


def test_times_count_from_the_first_claim(house: Any, session: Any, say: Any) -> None:
    """A retry a day later has the same Date, Message-ID and end as the first attempt."""
    house.carry(house.job(A, lines='expires = "2d"'), session(say(dot=451)))
    end = house.now + timedelta(days=2)
    house.now += timedelta(days=1)
    loaded = house.again()
    assert loaded.expires == end
    assert b"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n" in octets(loaded)
    assert b"Message-ID: <0123456789abcdef0123456789abcdef@here.example>\r\n" in octets(loaded)


def test_an_envelopes_own_message_id_wins() -> None:
    """The envelope's Message-ID comes before a recorded one, and that before a fresh one."""
    origin = Origin(first=NOW, token="0" * 32, message_id="<recorded@x>")
    assert origin.identity("<own@x>", "here").message_id == "<own@x>"
    assert origin.identity(None, "here").message_id == "<recorded@x>"
    fresh = Origin(first=NOW, token="0" * 32)
    assert fresh.identity(None, "here").message_id == f"<{'0' * 32}@here>"


def test_the_boundary_hangs_on_the_message_id_alone() -> None:
    """Another token on a retry gives the same boundary, so that the mail is the same octet by octet."""
    first = Origin(first=NOW, token="0" * 32).identity(None, "here")
    retry = Origin(first=NOW, token="f" * 32, message_id=first.message_id).identity(None, "here")
    assert retry == first


def test_a_relay_that_is_not_configured(house: Any) -> None:
    """The envelope's relay has to exist, and the nearest one is offered."""
    (found,) = problems(lambda: house.job(A, lines='relay = "mian"'))
    assert found == "envelope.toml: relay: no relay 'mian' is configured; did you mean 'main'?"


def test_all_or_nothing_needs_one_way(house: Any) -> None:
    """Recipients on different routes can't be all or nothing."""
    house.write("job", [A, "c@other.example"], 'partial = "all-or-nothing"')
    routes = (Route(recipient="*@other.example", relays=("other",)),)
    settings = replace(house.settings, relays=("main", "other"), routes=routes)
    (found,) = problems(lambda: house.load("job", settings=settings))
    assert "all-or-nothing is not possible" in found


def test_open_legs_leave_out_who_has_it_and_who_had_a_try(house: Any) -> None:
    """A leg shrinks to the recipients who still want the mail and had no turn since the job was loaded."""
    loaded = house.job(A, B, "c@example.org")
    loaded.account.mark([A], Status.DELIVERED)
    loaded.visited.add(B)
    assert loaded.open_legs == (Leg(relays=("main",), forward_paths=("c@example.org",)),)
    loaded.visited.add("c@example.org")
    assert loaded.open_legs == ()


def test_a_torn_record_is_an_error_of_its_own(house: Any) -> None:
    """A record that can't be read is not mistaken for a job that was never tried."""
    house.write("job", [A])
    (house.path / "active" / "job" / "result.toml").write_bytes(b'job = "job"\n')
    with pytest.raises(RecordError):
        house.load("job")


def test_what_a_crash_left_in_doubt_is_named(house: Any) -> None:
    """A prepared record without an answer names its recipients as in doubt."""
    loaded = house.job(A, B)
    future = loaded.account.assuming_accepted([A], [], relay="main", stage=Stage.DATA_END)
    loaded.job.prepare(future.result(Outcome.DEFERRED, finished=house.now), completing=False)
    assert house.load("job").doubt == (A,)


def recovered(house: Any, lines: str, relay_policy: InDoubt = InDoubt.RESEND) -> tuple[Any, Result]:
    """Load a job that a crash left in doubt, and decide about it."""
    loaded = house.job(A, lines=lines)
    loaded.account.attempted(started=NOW, seconds=1, relay="main", peer=None, tls=None, statuses=[Status.DELIVERED])
    future = loaded.account.assuming_accepted([A], [], relay="main", stage=Stage.DATA_END)
    loaded.job.prepare(future.result(Outcome.SENT, finished=house.now), completing=True)
    again = house.load("job")
    house.courier().recover(again, relay_policy=relay_policy)
    return again, house.result()


def test_recovery_resends_by_default(house: Any) -> None:
    """After a crash in the moment of doubt the mail goes again at once, flagged."""
    loaded, result = recovered(house, "")
    assert loaded.open_legs == (Leg(relays=("main",), forward_paths=(A,)),)
    assert loaded.doubt == ()
    assert result.possible_duplicate
    assert result.attempts[0].result.startswith("in doubt: maildropd ended")


@pytest.mark.parametrize(
    ("lines", "policy", "outcome"),
    [
        ('in_doubt = "hold"', InDoubt.RESEND, Outcome.IN_DOUBT),
        ('in_doubt = "assume-sent"', InDoubt.RESEND, Outcome.SENT),
        ("", InDoubt.HOLD, Outcome.IN_DOUBT),
        ("", InDoubt.ASSUME_SENT, Outcome.SENT),
    ],
)
def test_recovery_follows_the_policy(house: Any, lines: str, policy: InDoubt, outcome: Outcome) -> None:
    """``hold`` and ``assume-sent`` send nothing more after a crash, whoever said so."""
    loaded, result = recovered(house, lines, policy)
    assert loaded.open_legs == ()
    assert loaded.account.outcome() is outcome
    assert not result.possible_duplicate


def test_reading_needs_no_configuration(house: Any) -> None:
    """A developer's machine without any relay can read and compose jobs."""
    house.write("job", [A])
    loaded = house.load("job")
    mailing = read_mailing(loaded.job.folder, MailingSettings(), origin=Origin(first=NOW, token="0" * 32))
    assert mailing.subject == ""
    assert mailing.compose().size > 0
