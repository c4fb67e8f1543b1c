"""What a person orders: to try a job again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maildrop.errors import Problem, UsageError
from maildrop.spool.byhand import retry
from maildrop.spool.job import Job, resume
from maildrop.spool.layout import Spool, State
from maildrop.spool.lookup import Place
from maildrop.spool.readiness import Drop
from maildrop.spool.record import Outcome, RecordError, Result, Status, dump

Make = Callable[..., Result]
Drops = Callable[..., Drop]
NOW = datetime(2026, 11, 24, 9, 0, 0, 0, UTC)


def read(spool: Spool, state: State, name: str) -> Result:
    """Read a job's result."""
    with Job.open(spool, state, name) as job:
        result = job.read_result()
    assert result is not None
    return result


@pytest.mark.parametrize("state", [State.FAILED, State.DEFERRED])
def test_due_now_for_who_has_not_got_it(spool: Spool, drop_folder: Drops, make_result: Make, state: State) -> None:
    """Delivered recipients stay so, all others are pending, and the job is due."""
    before = make_result(
        Outcome.PARTIAL, a=(Status.DELIVERED, 250), b=(Status.REJECTED, 550), c=(Status.DEFERRED, 451), d=Status.PENDING
    )
    drop_folder("j", {"result.toml": dump(replace(before, finished=NOW))}, state=state)
    assert retry(spool, Place(state=state, name="j"), now=NOW) == "j"
    after = read(spool, State.ACTIVE, "j")
    assert (after.outcome, after.next_attempt, after.finished) == (Outcome.DEFERRED, NOW, None)
    assert after.recipients[0] == before.recipients[0]
    assert [one.status for one in after.recipients[1:]] == [Status.PENDING] * 3
    assert all(one.code is None and one.text is None for one in after.recipients[1:])
    assert not after.possible_duplicate


def test_who_was_in_doubt_may_get_a_second_copy(spool: Spool, drop_folder: Drops, make_result: Make) -> None:
    """A person who sends again after a doubt takes the duplicate, and the record says so."""
    drop_folder("j", {"result.toml": dump(make_result(Outcome.IN_DOUBT, a=Status.IN_DOUBT))}, state=State.FAILED)
    retry(spool, Place(state=State.FAILED, name="j"), now=NOW)
    after = read(spool, State.ACTIVE, "j")
    assert after.possible_duplicate
    assert after.recipients[0].status is Status.PENDING


def test_an_invalid_job_is_judged_anew(spool: Spool, drop_folder: Drops, make_result: Make) -> None:
    """The old problems are gone from the record: the producer may have mended them."""
    problems = (Problem(where="envelope.toml: to", what="is missing"),)
    result = make_result(Outcome.INVALID, changes={"recipients": (), "problems": problems})
    drop_folder("j", {"result.toml": dump(result)}, state=State.FAILED)
    retry(spool, Place(state=State.FAILED, name="j"), now=NOW)
    assert read(spool, State.ACTIVE, "j").problems == ()


def test_from_a_days_folder(spool: Spool, spool_path: Path, drop_folder: Drops, make_result: Make) -> None:
    """A job in a day's folder leaves it; a taken name in active is numbered."""
    (spool_path / "failed/2026-11-23").mkdir()
    drop_folder("2026-11-23/j", {"result.toml": dump(make_result(Outcome.FAILED))}, state=State.FAILED)
    (spool_path / "active/j").mkdir()
    assert retry(spool, Place(state=State.FAILED, name="2026-11-23/j"), now=NOW) == "j.2"
    assert list(spool.names(State.FAILED)) == []


@pytest.mark.parametrize("state", [State.INCOMING, State.ACTIVE, State.HELD, State.SENT])
def test_nothing_to_try_again(spool: Spool, drop_folder: Drops, state: State) -> None:
    """A job that is sent, or that nobody has tried, stays where it is."""
    drop_folder("j", state=state)
    with pytest.raises(UsageError, match="only failed and deferred"):
        retry(spool, Place(state=state, name="j"), now=NOW)
    assert list(spool.names(state)) == ["j"]


def test_without_a_result_nothing_is_guessed(spool: Spool, drop_folder: Drops, make_result: Make) -> None:
    """Without a whole record, who has got the mail is unknown, and the job stays where it is."""
    drop_folder("none", state=State.FAILED)
    drop_folder("torn", {"result.toml": dump(make_result(Outcome.FAILED))[:-30]}, state=State.FAILED)
    with pytest.raises(UsageError, match="no result"):
        retry(spool, Place(state=State.FAILED, name="none"), now=NOW)
    with pytest.raises(RecordError):
        retry(spool, Place(state=State.FAILED, name="torn"), now=NOW)
    assert sorted(spool.names(State.FAILED)) == ["none", "torn"]


def test_assume_sent_is_not_undone_by_hand(spool: Spool, drop_folder: Drops, make_result: Make) -> None:
    """Who was assumed to have the mail stays so when the others are tried again: at most once is a promise."""
    result = make_result(
        Outcome.DEFERRED, changes={"in_doubt": "assume-sent"}, a=Status.IN_DOUBT, b=(Status.DEFERRED, 451)
    )
    drop_folder("j", {"result.toml": dump(result)}, state=State.DEFERRED)
    retry(spool, Place(state=State.DEFERRED, name="j"), now=NOW)
    after = read(spool, State.ACTIVE, "j")
    assert [one.status for one in after.recipients] == [Status.IN_DOUBT, Status.PENDING]
    assert not after.possible_duplicate


def test_a_job_that_the_daemon_took_meanwhile_is_not_written_to(
    spool: Spool, drop_folder: Drops, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deferred job that comes due just now is the daemon's: its record, which may carry a doubt, stays."""
    drop_folder(
        "j", {"result.toml": dump(make_result(Outcome.DEFERRED, a=(Status.DEFERRED, 451)))}, state=State.DEFERRED
    )
    real = Job.read_result

    def read_and_lose(job: Job) -> Result | None:
        found = real(job)
        resume(spool, "j")
        return found

    monkeypatch.setattr(Job, "read_result", read_and_lose)
    with pytest.raises(UsageError, match="perhaps it was due"):
        retry(spool, Place(state=State.DEFERRED, name="j"), now=NOW)
    monkeypatch.undo()
    assert read(spool, State.ACTIVE, "j").reason != "to be tried again, ordered by hand"
