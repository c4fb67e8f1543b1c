"""The coordinator's view of ``incoming/``: real folders and real events under a manual clock."""

from __future__ import annotations

import os
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from maildrop.spool import examine, intake, observe, watch
from maildrop.spool.intake import Drop, Intake, IntakeSettings, Kind, Mode
from maildrop.spool.layout import Spool, State, init
from maildrop.spool.watch import Seen

DEADLINE_SECONDS = 10.0
LONG = 3600.0


def named_files(octets: bytes) -> frozenset[str]:
    """Return the attachments that an envelope names."""
    with suppress(tomllib.TOMLDecodeError):
        return frozenset(tomllib.loads(octets.decode()).get("attachments", ()))
    return frozenset()


class Harness:
    """A spool, an intake and a clock that moves only when told; wall-clock time runs with it."""

    def __init__(self, path: Path) -> None:
        init(str(path), user=None if os.geteuid() else "root")
        self.spool = Spool.open(str(path))
        self.incoming = path / "incoming"
        self.staging = path / "tmp"
        self.now = 1000.0
        self.claimed = 0
        self.wall_ahead = time.time() - self.now
        self.woken = threading.Event()
        self.intake = self.make(IntakeSettings())

    def make(self, settings: IntakeSettings) -> Intake:
        """Give the intake other settings, as a start anew."""
        self.settings = settings
        self.intake = Intake(self.spool, settings, self.woken.set, named_files)
        return self.intake

    def close(self) -> None:
        """Stop and close everything."""
        self.intake.stop()
        self.spool.close()

    def scan(self) -> None:
        """Scan at the clock's time."""
        self.intake.scan(self.now, self.now + self.wall_ahead)

    def take(self, limit: int = 100) -> list[str]:
        """Return the names of the drops that are ready."""
        return [drop.name for drop in self.drops(limit)]

    def drops(self, limit: int = 100) -> list[Drop]:
        """Return the drops that are ready."""
        return self.intake.take(limit, self.now, self.now + self.wall_ahead)

    def claim(self, limit: int = 100) -> list[str]:
        """Take what is ready, and move it out of incoming/ as a claim does."""
        names = self.take(limit)
        for name in names:
            self.claimed += 1
            (self.incoming / name).rename(self.incoming.parent / "active" / str(self.claimed))
        return names

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False, claiming: bool = True) -> list[str]:
        """Let time pass as the coordinator does: look when a look is due, scan now and then; return what got ready."""
        end, next_scan, ready = self.now + seconds, self.now, list[str]()
        while True:
            if self.now >= next_scan:
                self.scan()
                next_scan += self.settings.rescan_seconds
            ready += self.claim() if claiming else self.take()
            due = self.intake.next_look(self.now)
            step = min(end, next_scan, end if due is None else due)
            if until() or self.now >= end:
                return ready
            assert step >= self.now
            self.now = max(step, self.now + 0.001)

    def seen(self, name: str, *, renamed: bool = True) -> None:
        """Let the watcher note a name, as its reader's thread does."""
        self.intake._watcher.note(name, Seen.RENAMED if renamed else Seen.CREATED)

    def job(self, name: str = "job", where: Path | None = None, *, attachments: tuple[str, ...] = ()) -> Path:
        """Make a whole job, in place or elsewhere."""
        folder = (where or self.incoming) / name
        folder.mkdir()
        (folder / "body.txt").write_text("Hello\n")
        (folder / "envelope.toml").write_text(f"attachments = {list(attachments)}\n")
        return folder

    def until_taken(self, *names: str) -> None:
        """Take at each wake-up, with a deadline but without moving the clock, until all these names were ready."""
        deadline, left = time.monotonic() + DEADLINE_SECONDS, set(names)
        while left:
            self.woken.clear()
            left -= set(self.take())
            assert not left or self.woken.wait(max(0.0, deadline - time.monotonic())), f"not taken: {left}"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Harness]:
    """Give a harness on a new spool, not watching."""
    made = Harness(tmp_path / "spool")
    yield made
    made.close()


# What the rules mean in time


def test_a_quiet_job_is_ready_after_quiet_seconds(spool: Harness) -> None:
    """A job made in place is handed out once, when nothing has changed for two seconds by our clock."""
    spool.scan()
    spool.job()
    start = spool.now
    ready = spool.run(10, until=lambda: spool.intake.waiting + spool.intake.settling == 0 and spool.now > start + 1)
    assert ready == ["job"]
    assert spool.now - start == pytest.approx(2.0, abs=0.01)


def test_a_slow_producer_is_not_cut_off(spool: Harness) -> None:
    """Each step of a producer that writes within the quiet time begins it anew; no part of it is taken."""
    spool.scan()
    folder = spool.incoming / "job"
    steps: list[Callable[[], object]] = [
        folder.mkdir,
        lambda: (folder / "envelope.toml").write_text(""),
        lambda: (folder / "body.txt").write_text("Dear"),
        lambda: (folder / "body.txt").write_text("Dear reader"),
        (folder / "attachments").mkdir,
        lambda: (folder / "attachments" / "a.pdf").write_text("x"),
        lambda: (folder / "attachments" / "a.pdf").write_text("xy"),
    ]
    for step in steps:
        step()
        assert spool.run(1.9) == []
    assert spool.run(2.2) == ["job"]


def test_a_producer_that_stalls_longer_is_waited_for_by_what_the_envelope_names(spool: Harness) -> None:
    """A named file that has not come yet keeps the job, however quiet it is."""
    spool.scan()
    folder = spool.job(attachments=("late.pdf",))
    assert spool.run(600) == []
    assert spool.intake.incomplete == 1
    (folder / "late.pdf").write_text("x")
    assert spool.run(8) == ["job"]


def test_a_file_held_open_keeps_the_job(spool: Harness) -> None:
    """A writer that pauses longer than the quiet time still holds its file open: the job waits, and is never failed."""
    spool.scan()
    folder = spool.job()
    with (folder / "body.txt").open("a"):
        assert spool.run(LONG + 60) == []
        assert any("'body.txt' open for writing" in str(notice) for notice in spool.intake.notices)
    assert spool.run(6) == ["job"]


def test_a_marker_ends_the_waiting(spool: Harness) -> None:
    """READY is found at the next look, which for something new is soon."""
    spool.scan()
    folder = spool.job()
    assert spool.run(0.5) == []
    (folder / "READY").touch()
    start = spool.now
    assert spool.run(1, until=lambda: spool.intake.settling == 0) == ["job"]
    assert spool.now - start < 0.7


def test_a_renamed_job_is_ready_at_once(spool: Harness) -> None:
    """The evidence of the rename is all that is needed, and no scan."""
    spool.scan()
    spool.job()
    spool.seen("job")
    assert spool.take() == ["job"]


def test_rename_evidence_may_come_after_the_scan(spool: Harness) -> None:
    """A name that was listed and looked at before its event was read is ready when it comes."""
    spool.scan()
    spool.job()
    spool.scan()
    assert spool.take() == []
    spool.seen("job")
    assert spool.take() == ["job"]


def test_rename_evidence_may_come_before_the_scan(spool: Harness) -> None:
    """An event that was read before the listing is kept for it."""
    spool.job()
    spool.seen("job")
    spool.scan()
    assert spool.take() == ["job"]


def test_evidence_for_what_is_gone_is_forgotten(spool: Harness) -> None:
    """A rename of something that left again says nothing about what has its name later."""
    spool.scan()
    spool.seen("job")
    spool.scan()
    assert spool.intake.waiting == 0
    spool.job()
    spool.scan()
    assert spool.take() == []


def test_a_creation_in_place_undoes_the_evidence(spool: Harness) -> None:
    """Renamed in, removed, and made anew in place before we looked: that one must be quiet first."""
    spool.scan()
    spool.job()
    spool.seen("job")
    spool.seen("job", renamed=False)
    assert spool.take() == []
    assert spool.run(3) == ["job"]


def test_a_creation_in_place_undoes_evidence_that_was_taken_in(spool: Harness) -> None:
    """The same when the rename was already known to us and the drop only waited for its turn."""
    spool.scan()
    spool.job()
    spool.seen("job")
    assert spool.take(0) == []
    spool.seen("job", renamed=False)
    assert spool.take() == []


@pytest.mark.parametrize("mode", [Mode.QUIET, Mode.MARKER])
def test_modes_restrict_the_rules(spool: Harness, mode: Mode) -> None:
    """In modes quiet and marker a rename makes nothing ready."""
    spool.make(IntakeSettings(mode=mode))
    spool.scan()
    spool.job()
    spool.seen("job")
    assert spool.take() == []


def test_mode_rename_takes_what_appears(spool: Harness) -> None:
    """Producers promised to rename: what a scan finds is whole, events or not."""
    spool.make(IntakeSettings(mode=Mode.RENAME))
    spool.job()
    (spool.incoming / "x.eml").write_text("From: a@example.com\n")
    spool.scan()
    assert spool.take() == ["job", "x.eml"]


def test_mode_marker_waits_for_the_marker_and_then_fails_the_job(spool: Harness) -> None:
    """Without READY a folder stays, and after incomplete_after it is said why."""
    spool.make(IntakeSettings(mode=Mode.MARKER))
    spool.job("never")
    folder = spool.job("later")
    assert spool.run(60) == []
    (folder / "READY").touch()
    assert spool.run(6) == ["later"]
    assert spool.run(LONG) == ["never"]


def test_bare_messages_follow_the_same_rules(spool: Harness) -> None:
    """A bare message gives the job its name; empty it is not ready."""
    spool.scan()
    (spool.incoming / "a.eml").write_text("From: a@example.com\n")
    (spool.incoming / "b.eml").touch()
    spool.seen("a.eml")
    spool.seen("b.eml")
    assert spool.drops() == [Drop(name="a.eml", job="a", kind=Kind.EML)]
    (spool.incoming / "b.eml").write_text("From: a@example.com\n")
    assert spool.run(3) == ["b.eml"]


def test_ignored_names_are_left_alone_until_renamed(spool: Harness) -> None:
    """Hidden names and uploads under way are never handed out; renamed inside incoming/ they count as renamed."""
    for name in (".a", "b.tmp", "c.part"):
        spool.job(name)
        spool.seen(name)
    assert spool.take() == []
    assert spool.run(10) == []
    assert spool.intake.next_look(spool.now) is None
    (spool.incoming / "b.tmp").rename(spool.incoming / "b")
    spool.seen("b")
    assert spool.take() == ["b"]


def test_what_lay_there_at_the_start_is_ready_at_once(spool: Harness) -> None:
    """Old enough by all of its time stamps: no waiting."""
    spool.job()
    spool.wall_ahead += 2.5
    spool.scan()
    assert spool.take() == ["job"]


def test_what_was_just_written_at_the_start_is_observed(spool: Harness) -> None:
    """Its time stamps are too young: it takes two seconds of our clock."""
    spool.job()
    spool.scan()
    assert spool.take() == []
    assert spool.run(2.01) == ["job"]


def test_future_time_stamps_are_observed_by_our_clock(spool: Harness) -> None:
    """A wrong clock of a producer neither hastens nor delays its job."""
    folder = spool.job()
    os.utime(folder / "body.txt", (time.time() + 1e6,) * 2)
    spool.wall_ahead += 100
    spool.scan()
    assert spool.take() == []
    assert spool.run(2.01) == ["job"]


def test_a_later_drop_is_observed_however_old_its_stamps(spool: Harness) -> None:
    """Time stamps count only for what was there at the start."""
    spool.wall_ahead += 100
    spool.scan()
    spool.job()
    spool.scan()
    assert spool.take() == []


# What is not a job


def test_strays_and_incomplete_jobs_go_to_failed_with_reasons(spool: Harness) -> None:
    """After an hour each that is not a job is handed out with what is wrong, in words; said once when first seen."""
    (spool.incoming / "notes.txt").write_text("hello")
    (spool.incoming / "link").symlink_to("/etc/passwd")
    (spool.incoming / "empty").mkdir()
    (spool.incoming / "bare").mkdir()
    (spool.incoming / "bare" / "body.txt").write_text("x")
    spool.job("short", attachments=("a.pdf", "b.pdf"))
    spool.scan()
    start = spool.now
    assert spool.run(3590) == []
    assert spool.intake.incomplete == 5
    first_seen = sorted(notice.where for notice in spool.intake.notices)
    entries = ["incoming/bare", "incoming/empty", "incoming/link", "incoming/notes.txt"]
    assert first_seen == [*entries, "incoming/short/envelope.toml", "incoming/short/envelope.toml"]
    spool.now = start + LONG
    overdue = {drop.name: drop for drop in spool.drops()}
    assert {name: drop.kind for name, drop in overdue.items()} == {
        "notes.txt": Kind.STRAY,
        "link": Kind.STRAY,
        "empty": Kind.DIRECTORY,
        "bare": Kind.DIRECTORY,
        "short": Kind.DIRECTORY,
    }
    assert [problem.what for problem in overdue["short"].overdue] == [
        "file 'a.pdf' is not in the job after 1 h without a change",
        "file 'b.pdf' is not in the job after 1 h without a change",
    ]
    assert "is an empty folder" in str(overdue["empty"].overdue[0])
    assert len(spool.intake.notices) == len(first_seen)


def test_a_stray_that_grows_is_left_alone(spool: Harness) -> None:
    """Somebody is still writing it: the hour begins anew."""
    stray = spool.incoming / "notes.txt"
    stray.write_text("a")
    assert spool.run(3000) == []
    stray.write_text("ab")
    assert spool.run(3000) == []
    assert spool.run(700) == ["notes.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_an_unreadable_job_is_said_once_and_not_failed_early(spool: Harness) -> None:
    """A folder closed to us waits like an empty one, renamed in or not; the notice tells how to mend it."""
    spool.job().chmod(0o700)
    os.seteuid(65534)
    try:
        spool.scan()
        spool.seen("job")
        assert spool.run(100) == []
        (notice,) = spool.intake.notices
        assert "can't be read" in notice.what
        assert "chmod" in notice.hint
    finally:
        os.seteuid(0)
    spool.incoming.joinpath("job").chmod(0o755)
    assert spool.run(6) == ["job"]


def test_trouble_of_the_disk_blames_no_job(spool: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of descriptors: the job waits as long as it takes, the others are not affected, nothing is raised."""
    spool.scan()
    folder, real = spool.job("bad"), observe.survey

    def survey(parent: int, name: str, *rest: object) -> object:
        if name == "bad":
            raise OSError(24, "Too many open files")
        return real(parent, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(examine, "survey", survey)
    spool.job("good")
    assert spool.run(2 * LONG) == ["good"]
    assert len(spool.intake.notices) == 1
    monkeypatch.undo()
    assert folder.exists()
    assert spool.run(8) == ["bad"]


# Handing out


def test_a_drop_is_handed_out_once(spool: Harness) -> None:
    """Until it is claimed or given back it is not offered again, whatever events come."""
    spool.job()
    spool.seen("job")
    spool.scan()
    assert spool.take() == ["job"]
    spool.seen("job")
    assert spool.run(4.9, claiming=False) == []


def test_a_drop_whose_claim_failed_in_silence_is_offered_again(spool: Harness) -> None:
    """The disk was full in the midst of claiming, say: what is still there at a later scan is not forgotten."""
    spool.job()
    spool.seen("job")
    assert spool.take() == ["job"]
    assert spool.run(5.1, claiming=False) == ["job"]


def test_what_was_claimed_costs_the_next_scan_nothing(spool: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a drop that is still there is compared with the one that was handed out."""
    for name in ("a", "b", "c"):
        spool.job(name)
        spool.seen(name)
    assert spool.claim() == ["a", "b", "c"]
    looked = counted(monkeypatch)
    spool.scan()
    assert looked == []


def test_a_drop_that_changed_after_it_was_handed_out_is_looked_at_anew(spool: Harness) -> None:
    """Inode numbers are used again, so another ctime makes another drop; offering one twice does no harm."""
    spool.job()
    spool.seen("job")
    assert spool.take() == ["job"]
    spool.incoming.joinpath("job").chmod(0o700)
    spool.scan()
    assert spool.intake.waiting == 1
    assert spool.run(3) == ["job"]


def test_what_vanishes_under_our_eyes_is_no_trouble(spool: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed between two system calls of one look: forgotten without a word."""
    spool.scan()
    spool.job()

    def survey(*_arguments: object) -> object:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(examine, "survey", survey)
    spool.seen("job", renamed=False)
    assert spool.take() == []
    assert (spool.intake.notices, spool.intake.next_look(spool.now)) == ([], None)


def test_the_same_name_again_is_a_new_drop(spool: Harness) -> None:
    """Claimed, and dropped again before the next scan: both are handed out."""
    spool.job()
    spool.seen("job")
    assert spool.claim() == ["job"]
    spool.job()
    spool.seen("job")
    assert spool.take() == ["job"]


def test_a_late_event_about_a_claimed_drop_is_no_evidence(spool: Harness) -> None:
    """The event that we did not wait for must not make ready what has the name by now."""
    spool.make(IntakeSettings(mode=Mode.AUTO))
    (spool.job() / "READY").touch()
    spool.scan()
    assert spool.claim() == ["job"]
    spool.job()  # in place, and perhaps not finished
    spool.seen("job")  # about the first one
    assert spool.take() == []
    assert spool.run(3) == ["job"]


def test_an_unclaimable_drop_is_said_once_and_tried_ever_more_rarely(spool: Harness) -> None:
    """It is handed out again after 5, 10, 20 … at most 60 seconds, and another reason is said again."""
    spool.make(IntakeSettings(mode=Mode.RENAME))
    spool.job()
    times: list[float] = []
    for _ in range(7):
        assert spool.run(100, until=lambda: spool.intake.blocked == 0, claiming=False) == ["job"]
        times.append(spool.now)
        spool.intake.give_back("job", "permission denied; as its owner: chmod g+rwx")
        assert (spool.intake.blocked, spool.intake.incomplete) == (1, 0)
    pauses = [round(after - before) for before, after in pairwise(times)]
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert [notice.where for notice in spool.intake.notices] == ["incoming/job"]
    assert spool.run(100, until=lambda: spool.intake.blocked == 0, claiming=False) == ["job"]
    spool.intake.give_back("job", "no space left on device")
    assert len(spool.intake.notices) == 2


def test_a_blocked_drop_that_is_replaced_is_new(spool: Harness) -> None:
    """Removed and dropped again as it should be: at once."""
    spool.job()
    spool.seen("job")
    assert spool.take() == ["job"]
    spool.intake.give_back("job", "permission denied")
    spool.incoming.joinpath("job").rename(spool.incoming.parent / "gone")
    spool.scan()
    assert spool.intake.blocked == 0
    spool.job()
    spool.seen("job")
    assert spool.take() == ["job"]


def test_giving_back_what_is_not_handed_out_does_nothing(spool: Harness) -> None:
    """A name that nobody took is no business of ours."""
    spool.intake.give_back("job", "reason")
    assert (spool.intake.blocked, spool.intake.notices) == (0, [])


def test_what_vanishes_is_forgotten(spool: Harness) -> None:
    """A drop that a producer takes back leaves nothing behind, whether it was looked at or not."""
    for name in ("a", "b"):
        spool.job(name)
        spool.scan()
        if name == "a":
            assert spool.take() == []
        spool.incoming.joinpath(name).rename(spool.incoming.parent / name)
    assert spool.run(10) == []
    assert spool.intake.next_look(spool.now) is None


def test_names_of_any_octets(spool: Harness) -> None:
    """A name that is not UTF-8 is handed out as it is, and shown harmlessly."""
    name = os.fsdecode(b"a\xff\n")
    (spool.incoming / name).mkdir()
    spool.job(name + "x")
    assert spool.run(3) == [name + "x"]
    assert [notice.where for notice in spool.intake.notices] == ["incoming/a\\xff\\x0a"]


# Cost and fairness


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with each entry looked at."""
    looked: list[str] = []
    real = observe.status_of

    def status_of(folder: int, name: str) -> os.stat_result | None:
        looked.append(name)
        return real(folder, name)

    monkeypatch.setattr(examine, "status_of", status_of)
    monkeypatch.setattr(intake, "status_of", status_of)
    return looked


def test_a_hundred_thousand_names_cost_one_listing(spool: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan asks for the status of no entry, and each take looks at a bounded number of them."""
    spool.scan()
    looked = counted(monkeypatch)
    names = [f"job{number:06}" for number in range(100_000)]
    monkeypatch.setattr(os, "listdir", lambda _folder: list(names))
    spool.scan()
    spool.scan()
    assert (spool.intake.waiting, looked) == (100_000, [])
    assert spool.take(10) == []
    assert len(looked) == intake._TAKE_COST
    assert looked == names[: len(looked)]
    assert spool.intake.next_look(spool.now) == spool.now
    names.clear()
    spool.scan()
    assert spool.intake.waiting == 0


def test_only_as_many_as_asked_for_are_looked_at(spool: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of a backlog waits as names."""
    spool.make(IntakeSettings(mode=Mode.RENAME))
    for number in range(20):
        spool.job(f"{number:02}")
    looked = counted(monkeypatch)
    spool.scan()
    assert spool.take(3) == ["00", "01", "02"]
    assert len(looked) == 3
    assert spool.intake.waiting == 17


def test_a_thousand_incomplete_jobs_do_not_starve_a_ready_one(spool: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked at again each in its own time, not at every wake-up, and never before what is new."""
    for number in range(1000):
        (spool.incoming / f"a{number:04}").mkdir()
    spool.run(60)
    assert spool.intake.incomplete == 1000
    looked = counted(monkeypatch)
    spool.job("z")
    spool.seen("z")
    assert spool.take(1) == ["z"]
    assert len(looked) <= 2
    looked.clear()
    for _ in range(100):
        spool.seen("nothing")
        spool.take()
    assert len(looked) < 1100
    looked.clear()
    spool.run(10)
    assert len(looked) <= 2 * 1000 + 1000


def test_new_names_do_not_starve_what_gets_quiet(spool: Harness) -> None:
    """With a long backlog waiting, every second turn is that of what was looked at before."""
    spool.job("first")
    spool.scan()
    assert spool.take() == []
    spool.now += 2.1
    for number in range(5000):
        spool.seen(f"gone{number}", renamed=False)
    assert spool.take(1) == ["first"]


def test_polling_grows_rarer_with_the_number_of_incomplete_drops(
    spool: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of strays are not all looked at every five seconds."""
    spool.make(replace(spool.settings, incomplete_after_seconds=1e6))
    for number in range(4000):
        (spool.incoming / f"{number}").touch()
    spool.run(60)
    looked = counted(monkeypatch)
    spool.run(30)
    assert 0 < len(looked) <= 30 * 500 + 4000


# Events and their faults


def test_events_carry_everything_at_once(spool: Harness) -> None:
    """With real inotify renamed drops are ready without the clock moving: from tmp/, and from an ignored name."""
    spool.intake.start()
    spool.scan()
    spool.job("a", spool.staging).rename(spool.incoming / "a")
    spool.job(".b").rename(spool.incoming / "b")
    spool.job("c.part").rename(spool.incoming / "c")
    (spool.staging / "d").write_text("From: a@example.com\n")
    (spool.staging / "d").rename(spool.incoming / "d.eml")
    spool.until_taken("a", "b", "c", "d.eml")


def test_a_job_made_in_place_is_not_taken_for_renamed(spool: Harness) -> None:
    """With real inotify a directory that is made in place is only observed."""
    spool.intake.start()
    spool.scan()
    spool.job("slow")
    spool.job("fast", spool.staging).rename(spool.incoming / "fast")
    spool.until_taken("fast")
    assert spool.take() == []
    assert spool.intake.settling == 1
    assert spool.run(3) == ["slow"]


def test_an_overflow_costs_no_job(spool: Harness) -> None:
    """Lost events make the next take scan; what was renamed in unseen falls under the quiet rule."""
    spool.intake.start()
    spool.scan()
    callback = spool.intake._watcher._callback
    assert callback is not None
    spool.job("lost", spool.staging).rename(spool.incoming / "lost")
    callback.on_queue_overflow()
    assert spool.woken.is_set()
    callback.retired = True  # what the kernel still says about it is lost as well
    assert spool.run(3) == ["lost"]


def test_evidence_from_before_an_overflow_is_not_trusted(spool: Harness) -> None:
    """The lost events may have said that the name stands for something new."""
    spool.scan()
    spool.job()
    spool.seen("job")
    spool.seen("other")
    assert spool.take(0) == []  # noted, not looked at
    spool.intake._watcher.note_rescan()
    assert spool.take() == []
    assert spool.run(3) == ["job"]


def test_a_scan_that_finds_events_lost_trusts_no_evidence_either(spool: Harness) -> None:
    """It makes no difference who asks the watcher first."""
    spool.scan()
    spool.job()
    spool.seen("job")
    assert spool.take(0) == []
    spool.intake._watcher.note_rescan()
    spool.scan()
    assert spool.take() == []


@pytest.mark.parametrize("how", ["renamed", "deleted"])
def test_a_replaced_folder_is_followed(spool: Harness, tmp_path: Path, how: str) -> None:
    """incoming/ renamed away or deleted is made again at the next scan, and watched anew."""
    spool.intake.start()
    spool.scan()
    if how == "renamed":
        spool.job("old")
        spool.scan()
        spool.incoming.rename(tmp_path / "away")
    else:
        spool.incoming.rmdir()
    spool.scan()
    assert spool.incoming.is_dir()
    assert spool.take() == []
    assert spool.intake.waiting == 0
    spool.job("new", spool.staging).rename(spool.incoming / "new")
    spool.until_taken("new")


def test_a_folder_put_in_place_of_the_old_one_is_followed(spool: Harness, tmp_path: Path) -> None:
    """The new folder may hold jobs already: they are quiet by their time stamps, or observed."""
    spool.scan()
    spool.incoming.rename(tmp_path / "away")
    spool.incoming.mkdir()
    spool.incoming.chmod(0o1777)
    spool.job("fresh")
    assert spool.run(1) == []
    assert spool.run(1.5) == ["fresh"]


def test_what_lies_in_a_folder_put_in_place_counts_as_at_the_start(spool: Harness, tmp_path: Path) -> None:
    """A folder that was mounted or restored is met as at the start: old time stamps are quiet."""
    spool.scan()
    spool.incoming.rename(tmp_path / "away")
    spool.incoming.mkdir()
    spool.incoming.chmod(0o1777)
    spool.job()
    spool.wall_ahead += 10
    spool.scan()
    assert spool.take() == ["job"]


def test_a_living_watch_is_kept(spool: Harness) -> None:
    """A scan does not begin the watching anew when nothing is wrong: events would be lost in between."""
    spool.intake.start()
    spool.scan()
    reader = spool.intake._watcher._reader
    spool.scan()
    assert spool.intake._watcher._reader is reader


def test_a_dead_reader_is_replaced(spool: Harness) -> None:
    """A reader's thread that ended is noticed at the next scan."""
    spool.intake.start()
    spool.scan()
    reader = spool.intake._watcher._reader
    assert reader is not None
    reader.stop()
    reader.join(DEADLINE_SECONDS)
    spool.scan()
    spool.job("a", spool.staging).rename(spool.incoming / "a")
    spool.until_taken("a")


def test_without_inotify_polling_carries_everything(spool: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """No watch can be had: it is said once, tried again each minute, and jobs are found by the scan."""
    monkeypatch.setattr(watch.Watcher, "follow", lambda _self, _folder: "inotify watch limit reached")
    spool.intake.start()
    spool.scan()
    spool.job()
    assert spool.run(300) == ["job"]
    (notice,) = spool.intake.notices
    assert "no events can be had (inotify watch limit reached)" in notice.what
    assert "5 seconds" in notice.what
    monkeypatch.undo()
    spool.run(61)
    spool.job("a", spool.staging).rename(spool.incoming / "a")
    spool.until_taken("a")


def test_a_network_filesystem_is_said_once_and_leases_are_not_asked(spool: Harness) -> None:
    """There a refused lease only means that the server gave no delegation."""
    spool.spool.filesystem = "nfs4"
    spool.make(IntakeSettings())
    spool.intake.start()
    spool.scan()
    folder = spool.job()
    with (folder / "body.txt").open("a"):
        assert spool.run(10) == ["job"]
    (notice,) = spool.intake.notices
    assert "nfs4" in notice.what


def test_stopping_leaves_no_thread(spool: Harness) -> None:
    """After stop nothing wakes any more, and scans go on working."""
    before = threading.active_count()
    spool.intake.start()
    spool.scan()
    assert threading.active_count() == before + 1
    spool.intake.stop()
    assert threading.active_count() == before
    spool.job()
    assert spool.run(3) == ["job"]
    assert spool.spool.folder(State.INCOMING) >= 0
