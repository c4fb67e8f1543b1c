"""The table of states, transition by transition, and what is found after a crash between any two steps."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from maildrop.spool import durable, volume
from maildrop.spool.job import Job, claim, home_of, resume
from maildrop.spool.layout import Settling, Spool, State
from maildrop.spool.readiness import Drop
from maildrop.spool.record import Outcome, RecordError, Result, Status, dump, load
from maildrop.spool.recovery import recover

Make = Callable[..., Result]
Drops = Callable[..., Drop]
A, B = "a@example.org", "b@example.org"


@pytest.fixture
def job(spool: Spool, drop_folder: Drops) -> Job:
    """Claim a job."""
    name = claim(spool, drop_folder("j"))
    return Job.open(spool, State.ACTIVE, name)


def places(path: Path) -> list[str]:
    """Return where jobs are: ``state/name`` of all of them."""
    return sorted(f"{state}/{name}" for state in State for name in os.listdir(path / state) if not name.startswith("."))


def read(path: Path) -> Result:
    """Read a result."""
    return load((path / "result.toml").read_bytes())


def test_a_completing_transaction(spool_path: Path, job: Job, make_result: Make) -> None:
    """Prepared, accepted by one rename, told in full afterwards."""
    with job:
        job.prepare(make_result(a=Status.DELIVERED), completing=True)
        assert places(spool_path) == ["active/j"]
        assert job.doubt() == (A,)
        job.accept(State.SENT)
        assert places(spool_path) == ["sent/j"]
        assert (job.state, job.name) == (State.SENT, "j")
        assert os.fstat(job.landing).st_ino == (spool_path / "sent").stat().st_ino
        assert job.doubt() == ()
        assert read(spool_path / "sent/j").recipients[0].code is None
        job.finish(make_result(a=(Status.DELIVERED, 250)))
    assert read(spool_path / "sent/j") == make_result(a=(Status.DELIVERED, 250))
    assert sorted(os.listdir(spool_path / "sent/j")) == ["envelope.toml", "result.toml"]


def test_accept_is_one_system_call(
    spool_path: Path, job: Job, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, with every other call failing, the acceptance is recorded all the same."""
    job.prepare(make_result(a=Status.DELIVERED), completing=True)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        for call in ("open", "write", "mkdir", "fsync", "close", "unlink", "stat", "rename", "link"):
            patch.setattr(os, call, fail)
        job.accept(State.SENT)
    assert places(spool_path) == ["sent/j"]
    job.close()


def test_a_transaction_that_leaves_recipients_over(spool_path: Path, job: Job, make_result: Make) -> None:
    """What was delivered is recorded in the job's folder, by one rename, without a move."""
    with job:
        job.prepare(make_result(Outcome.DEFERRED, a=Status.DELIVERED, b=Status.PENDING), completing=False)
        assert job.doubt() == (A,)
        job.accept(None)
        assert os.fstat(job.landing).st_ino == (spool_path / "active/j").stat().st_ino
        assert job.doubt() == ()
        assert sorted(os.listdir(spool_path / "active/j")) == ["envelope.toml", "result.toml"]
        job.prepare(make_result(a=(Status.DELIVERED, 250), b=Status.DELIVERED), completing=True)
        assert job.doubt() == (B,)
        job.accept(State.SENT)
    assert places(spool_path) == ["sent/j"]


def test_what_was_accepted_stays_beyond_doubt(job: Job, make_result: Make) -> None:
    """A recipient whose reply was lost in a crash is not in doubt again when the next transaction is prepared."""
    with job:
        job.prepare(make_result(Outcome.DEFERRED, a=Status.DELIVERED, b=Status.PENDING), completing=False)
        job.accept(None)
        known = job.read_result()
        assert known is not None
        second = replace(known.recipients[1], status=Status.DELIVERED)
        job.prepare(replace(known, outcome=Outcome.SENT, recipients=(known.recipients[0], second)), completing=True)
        assert job.doubt() == (B,)


def test_a_refused_transaction_leaves_no_doubt(spool_path: Path, job: Job, make_result: Make) -> None:
    """When the server says no, the note replaces the prepared record, of either kind."""
    with job:
        for completing in (True, False):
            outcome = Outcome.SENT if completing else Outcome.DEFERRED
            job.prepare(make_result(outcome, a=Status.DELIVERED), completing=completing)
            assert job.doubt() == (A,)
            job.note(make_result(Outcome.DEFERRED, a=(Status.DEFERRED, 451)))
            assert job.doubt() == ()
            assert os.listdir(spool_path / "active/j").count("result.next") == 0


def test_a_completing_record_forgets_a_refused_one(spool_path: Path, job: Job, make_result: Make) -> None:
    """A prepared record that came to nothing does not speak beside the next one."""
    with job:
        job.prepare(make_result(Outcome.DEFERRED, b=Status.DELIVERED), completing=False)
        job.prepare(make_result(a=Status.DELIVERED), completing=True)
        assert job.doubt() == (A,)
        job.accept(State.SENT)
    assert sorted(os.listdir(spool_path / "sent/j")) == ["envelope.toml", "result.toml"]


def test_defer_and_resume(spool: Spool, spool_path: Path, job: Job, make_result: Make) -> None:
    """A deferred job waits with its record, and comes back to active with it."""
    deferred = make_result(Outcome.DEFERRED, a=(Status.DEFERRED, 451))
    with job:
        assert job.defer(deferred) == "j"
    assert places(spool_path) == ["deferred/j"]
    assert resume(spool, "j") == "j"
    with Job.open(spool, State.ACTIVE, "j") as again:
        assert again.read_result() == deferred
        assert again.doubt() == ()
    with pytest.raises(FileNotFoundError):
        resume(spool, "j")


@pytest.mark.parametrize("to", [State.SENT, State.FAILED])
def test_settle_never_overwrites(
    spool: Spool, spool_path: Path, drop_folder: Drops, make_result: Make, to: State
) -> None:
    """Equal names and names of 255 octets are numbered where they settle; each keeps its own result."""
    for name, second in (("j", "j.2"), ("ü" * 127, "ü" * 126 + ".2")):
        for expected in (name, second):
            with Job.open(spool, State.ACTIVE, claim(spool, drop_folder(name))) as job:
                assert job.settle(make_result(changes={"job": expected}), to) == expected
                assert job.name == expected
            assert read(spool_path / to / expected).job == expected
    assert len(places(spool_path)) == 4


def test_accept_never_overwrites(spool: Spool, spool_path: Path, drop_folder: Drops, make_result: Make) -> None:
    """A taken name does not keep an acceptance from being recorded."""
    (spool_path / "sent/j").mkdir()
    with Job.open(spool, State.ACTIVE, claim(spool, drop_folder("j"))) as job:
        job.prepare(make_result(a=Status.DELIVERED), completing=True)
        job.accept(State.SENT)
        assert job.name == "j.2"
    assert places(spool_path) == ["sent/j", "sent/j.2"]


def test_daily_layout(spool_path: Path, drop_folder: Drops, make_result: Make) -> None:
    """Settled jobs lie in a folder of the day, found there again; deferred ones do not."""
    with Spool.open(str(spool_path), volatile=True, layout=Settling.DAILY) as spool:
        for name in ("sent", "failed", "later"):
            claim(spool, drop_folder(name))
        with Job.open(spool, State.ACTIVE, "sent") as job:
            job.prepare(make_result(a=Status.DELIVERED), completing=True)
            job.accept(State.SENT)
            assert os.fstat(job.landing).st_ino == (spool_path / "sent/2026-11-23").stat().st_ino
        with Job.open(spool, State.ACTIVE, "failed") as job:
            assert job.settle(make_result(Outcome.FAILED), State.FAILED) == "failed"
        with Job.open(spool, State.ACTIVE, "later") as job:
            job.defer(make_result(Outcome.DEFERRED))
        assert places(spool_path) == ["deferred/later", "failed/2026-11-23", "sent/2026-11-23"]
        assert list(spool.names(State.SENT)) == ["2026-11-23/sent"]
        with Job.open(spool, State.SENT, "2026-11-23/sent") as job:
            assert job.name == "sent"
            assert job.read_result() is not None
        assert (spool_path / "sent/2026-11-23").stat().st_mode & 0o777 == 0o755


def test_transcript(spool_path: Path, job: Job) -> None:
    """The transcript is written beside the result, whatever text it has."""
    with job:
        job.write_transcript("S: 220 ü \udcff")
        job.write_transcript("S: 220 again")
    assert (spool_path / "active/j/transcript.log").read_text() == "S: 220 again"


def test_a_planted_link_after_the_claim(
    spool: Spool, spool_path: Path, drop_folder: Drops, make_result: Make, tmp_path: Path
) -> None:
    """A producer that kept a descriptor can't make us write elsewhere, nor believe its own record."""
    canary = tmp_path / "canary"
    canary.write_text("alive")
    drop = drop_folder("j")
    held = os.open(spool_path / "incoming/j", os.O_RDONLY)
    claim(spool, drop)
    for name in ("result.toml", ".result.toml.tmp", "transcript.log", ".transcript.log.tmp", "result.next"):
        os.symlink(canary, name, dir_fd=held)
    with Job.open(spool, State.ACTIVE, "j") as job:
        assert job.read_result() is None
        job.write_transcript("t")
        job.prepare(make_result(a=Status.DELIVERED), completing=True)
        os.unlink("result.toml", dir_fd=held)
        os.symlink(canary, "result.toml", dir_fd=held)
        job.accept(State.SENT)
        os.symlink(canary, ".result.toml.tmp", dir_fd=held)
        job.finish(make_result())
    os.close(held)
    assert canary.read_text() == "alive"
    assert read(spool_path / "sent/j") == make_result()
    assert not (spool_path / "sent/j/result.toml").is_symlink()


def test_a_record_that_cannot_be_written_changes_nothing(
    spool_path: Path, job: Job, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at any record leaves the job where it was, without a doubt, and the caller is told."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    result = make_result(a=Status.DELIVERED)
    calls: list[Callable[[], object]] = [
        lambda: job.prepare(result, completing=True),
        lambda: job.prepare(result, completing=False),
        lambda: job.note(result),
        lambda: job.defer(result),
        lambda: job.settle(result, State.SENT),
    ]
    for call in calls:
        with pytest.raises(OSError, match="No space") as caught:
            call()
        assert durable.is_local_trouble(caught.value)
        assert places(spool_path) == ["active/j"]
        assert os.listdir(spool_path / "active/j") == ["envelope.toml"]
    job.close()


@pytest.mark.parametrize("outcome", list(Outcome))
def test_home(outcome: Outcome) -> None:
    """Only what was sent is in sent, only what waits is deferred, everything else needs a person."""
    sent = outcome in (Outcome.SENT, Outcome.DUPLICATE)
    assert home_of(outcome) is (State.SENT if sent else State.DEFERRED if outcome == "deferred" else State.FAILED)


def test_a_sync_where_renames_are_not_ordered(job: Job, make_result: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply's words are synced on filesystems where a power cut would leave an empty file, and not on others."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for ordered, count in ((True, 0), (False, 1)):
        synced.clear()
        monkeypatch.setattr(volume, "orders_replacing_renames", lambda _, answer=ordered: answer)
        job.finish(make_result())
        assert len(synced) == count
    job.close()


def recovered(spool: Spool, path: Path) -> list[str]:
    """Recover, twice: the second time there is nothing to do but for doubts."""
    said = recover(spool)
    before = places(path)
    assert [sentence for sentence in recover(spool) if "doubt" not in sentence] == []
    assert places(path) == before
    return said


def test_recovery_moves_what_is_known(spool: Spool, spool_path: Path, drop_folder: Drops, make_result: Make) -> None:
    """A settled record without its move is moved where its outcome belongs; a fresh job stays."""
    for name, outcome in (("s", Outcome.SENT), ("f", Outcome.FAILED), ("d", Outcome.DEFERRED), ("i", Outcome.INVALID)):
        drop_folder(name, {"result.toml": dump(make_result(outcome))}, state=State.ACTIVE)
    drop_folder("fresh", state=State.ACTIVE)
    assert len(recovered(spool, spool_path)) == 4
    assert places(spool_path) == ["active/fresh", "deferred/d", "failed/f", "failed/i", "sent/s"]


def test_recovery_of_leftovers(spool: Spool, spool_path: Path, drop_folder: Drops) -> None:
    """Half-written files are removed; the job's own are not."""
    files = dict.fromkeys(("READY", ".result.toml.tmp", ".result.next.tmp", "result.next", "body.txt"), b"half")
    drop_folder("j", files, state=State.ACTIVE)
    assert recovered(spool, spool_path) == []
    assert os.listdir(spool_path / "active/j") == ["body.txt"]


def test_recovery_of_torn_records(spool: Spool, spool_path: Path, drop_folder: Drops, make_result: Make) -> None:
    """A first record cut off at any length means that nothing was sent, and is kept aside."""
    octets = dump(make_result(a=Status.DELIVERED))
    for length in range(0, len(octets) - 1, 7):
        drop_folder(f"j{length}", {"result.toml": octets[:length]}, state=State.ACTIVE)
    for sentence in recovered(spool, spool_path):
        assert "nothing was sent" in sentence
    for name in spool.names(State.ACTIVE):
        with Job.open(spool, State.ACTIVE, name) as job:
            assert job.read_result() is None
            assert job.doubt() == ()
        assert os.listdir(spool_path / "active" / name) == ["result.toml.torn"]


def test_a_torn_record_elsewhere_is_told(spool: Spool, drop_folder: Drops, make_result: Make) -> None:
    """Outside of active a torn record is a fault of the disk, not to be passed over."""
    drop_folder("j", {"result.toml": dump(make_result())[:-20]}, state=State.DEFERRED)
    with Job.open(spool, State.DEFERRED, "j") as job, pytest.raises(RecordError):
        job.read_result()


def test_recovery_promotes_a_note_that_was_cut_short(
    spool: Spool, spool_path: Path, drop_folder: Drops, make_result: Make
) -> None:
    """A note that had taken the prepared record's place counts."""
    noted = make_result(Outcome.DEFERRED, a=(Status.DELIVERED, 250), b=(Status.DEFERRED, 451))
    older = make_result(Outcome.DEFERRED, a=Status.PENDING, b=Status.PENDING)
    drop_folder("j", {"result.toml": dump(older), "result.next": dump(noted)}, state=State.ACTIVE)
    recovered(spool, spool_path)
    assert read(spool_path / "deferred/j") == noted


def test_doubt_is_left_and_marked(spool: Spool, spool_path: Path, drop_folder: Drops, make_result: Make) -> None:
    """A job in doubt stays in active; what is known of it says who is in doubt, and settling ends it."""
    prepared = make_result(Outcome.PARTIAL, a=Status.DELIVERED, b=(Status.REJECTED, 550))
    drop_folder("j", {"result.toml": dump(prepared)}, state=State.ACTIVE)
    assert recovered(spool, spool_path) == ["active/j: in doubt: the final dot may have been sent when maildropd ended"]
    with Job.open(spool, State.ACTIVE, "j") as job:
        assert job.doubt() == (A,)
        known = job.read_result()
        assert known is not None
        assert (known.outcome, known.recipients[0].status) == (Outcome.IN_DOUBT, Status.IN_DOUBT)
        assert known.recipients[1] == prepared.recipients[1]
        job.settle(known, State.FAILED)
    assert places(spool_path) == ["failed/j"]


def test_recovery_leaves_what_is_no_job(spool: Spool, spool_path: Path) -> None:
    """A file in active, put there by a person, is named and left; our own hidden ones are not named."""
    (spool_path / "active/file").touch()
    spool.lock()
    assert recover(spool) == [
        "active/file: can't be put in order: Not a directory; make it writable for maildropd, or move it away"
    ]


def test_recovery_stops_at_trouble_of_the_disk(
    spool: Spool, drop_folder: Drops, monkeypatch: pytest.MonkeyPatch, make_result: Make
) -> None:
    """A broken disk is no reason to pass over jobs."""
    drop_folder("j", {"result.toml": dump(make_result())}, state=State.ACTIVE)

    def fail(*_: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable, "move_unclobbered", fail)
    with pytest.raises(OSError, match="Input/output"):
        recover(spool)


def test_no_descriptor_is_left(spool: Spool, spool_path: Path, drop_folder: Drops, make_result: Make) -> None:
    """A whole life, and attempts to open what is not there, leave nothing open."""
    (spool_path / "sent/2026-11-23").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with Job.open(spool, State.ACTIVE, claim(spool, drop_folder("j"))) as job:
        job.folder.open_file("envelope.toml")
        job.prepare(make_result(a=Status.DELIVERED), completing=True)
        job.accept(State.SENT)
        job.finish(make_result())
    job.close()
    for name in ("nothing", "nothing/j", "2026-11-23/j"):
        with pytest.raises(FileNotFoundError):
            Job.open(spool, State.SENT, name)
    assert len(os.listdir("/proc/self/fd")) == before
