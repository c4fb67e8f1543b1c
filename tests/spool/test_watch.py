"""Wake-ups from the kernel: real inotify, and the faults that it and its reader can have."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyFD

from maildrop.spool import watch
from maildrop.spool.watch import Notes, Seen, Watcher

DEADLINE_SECONDS = 10.0


class Folder:
    """A watched folder, and what was drained so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.woken = threading.Event()
        self.wakes = 0
        self.watcher = Watcher(self.wake)
        self.seen = Notes()

    def wake(self) -> None:
        """Count a wake-up."""
        self.wakes += 1
        self.woken.set()

    def wait(self, condition: Callable[[Notes], bool]) -> Notes:
        """Drain at each wake-up until the condition holds for all that was seen."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            self.woken.clear()
            notes = self.watcher.drain()
            self.seen.names.update(notes.names)
            self.seen.rescan |= notes.rescan
            if condition(self.seen):
                return self.seen
            assert self.woken.wait(max(0.0, deadline - time.monotonic())), f"not seen; only {self.seen}"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """Give a folder that is watched."""
    path = tmp_path / "in"
    path.mkdir()
    made = Folder(path)
    assert made.watcher.follow(made.descriptor) == ""
    yield made
    made.watcher.stop()
    os.close(made.descriptor)


def test_a_rename_is_told_from_a_creation(folder: Folder, tmp_path: Path) -> None:
    """What is moved in is evidence; what is made in place is only a name."""
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved").rename(folder.path / "moved")
    (folder.path / "made").mkdir()
    seen = folder.wait(lambda notes: "made" in notes.names)
    assert seen.names == {"moved": Seen.RENAMED, "made": Seen.CREATED}


def test_a_rename_inside_the_folder_is_seen(folder: Folder) -> None:
    """A name that was not looked at becomes one that is: the producer says that it has finished."""
    (folder.path / ".x").mkdir()
    (folder.path / ".x").rename(folder.path / "x")
    assert folder.wait(lambda notes: "x" in notes.names).names["x"] is Seen.RENAMED


def test_writing_to_a_file_does_not_undo_its_rename(folder: Folder) -> None:
    """A closed file is a reason to look, and no more."""
    folder.watcher.note("x.eml", Seen.RENAMED)
    (folder.path / "x.eml").write_text("From: a@example.com\n")
    folder.wait(lambda notes: "x.eml" in notes.names)
    folder.watcher.note("y", Seen.RENAMED)
    folder.watcher.note("y", Seen.TOUCHED)
    assert folder.watcher.drain().names["y"] is Seen.RENAMED


def test_a_creation_undoes_an_earlier_rename(folder: Folder) -> None:
    """The evidence was about something that had this name before."""
    folder.watcher.note("x", Seen.RENAMED)
    folder.watcher.note("x", Seen.CREATED)
    assert folder.watcher.drain().names["x"] is Seen.CREATED


def test_names_need_not_be_utf8(folder: Folder) -> None:
    """Octets come through as the file system functions of Python take them."""
    os.mkdir(os.fsencode(folder.path) + b"/a\xff\n")
    name = os.fsdecode(b"a\xff\n")
    assert name in folder.wait(lambda notes: name in notes.names).names


def test_one_wake_up_for_many_events(folder: Folder) -> None:
    """Who was woken and has not looked yet is not woken again."""
    for number in range(100):
        (folder.path / str(number)).mkdir()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(folder.watcher._notes.names) < 100:
        assert time.monotonic() < deadline
        os.sched_yield()
    assert folder.wakes == 1
    assert len(folder.watcher.drain().names) == 100


def test_an_overflow_asks_for_a_scan_and_forgets_evidence(folder: Folder) -> None:
    """A lost event may have said that a name stands for something else now."""
    folder.watcher.note("x", Seen.RENAMED)
    assert folder.watcher._callback is not None
    folder.watcher._callback.on_queue_overflow()
    assert folder.watcher.drain() == Notes(names={}, rescan=True)


def test_too_many_names_are_an_overflow(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded however long nobody asks."""
    monkeypatch.setattr(watch, "_MAX_NAMES", 3)
    for number in range(4):
        folder.watcher.note(str(number), Seen.CREATED)
    assert folder.watcher.drain() == Notes(names={}, rescan=True)


def test_a_folder_renamed_away_asks_for_a_scan(folder: Folder, tmp_path: Path) -> None:
    """The kernel says that the folder itself moved."""
    folder.path.rename(tmp_path / "away")
    assert folder.wait(lambda notes: notes.rescan).rescan


def test_a_deleted_folder_asks_for_a_scan_and_ends_the_watch(folder: Folder) -> None:
    """Once nobody holds the folder the kernel removes the watch, and the watcher knows that it is deaf."""
    folder.path.rmdir()
    os.dup2(os.open("/", os.O_RDONLY), folder.descriptor)
    folder.wait(lambda notes: notes.rescan)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while folder.watcher.alive:
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_wake_up_that_fails_does_not_end_the_reader(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing raises into the reader's thread; the next scan finds the watcher in need of a new start."""

    def fail() -> None:
        raise RuntimeError("the loop is closed")

    monkeypatch.setattr(folder.watcher, "_wake", fail)
    assert folder.watcher._reader is not None
    reader = folder.watcher._reader
    (folder.path / "x").mkdir()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while folder.watcher.alive:
        assert time.monotonic() < deadline
        os.sched_yield()
    assert reader.is_alive()
    assert "x" in folder.watcher.drain().names


def test_it_can_follow_another_folder(folder: Folder, tmp_path: Path) -> None:
    """After a new start only the new folder is heard."""
    other = tmp_path / "other"
    other.mkdir()
    descriptor = os.open(other, os.O_RDONLY)
    assert folder.watcher.follow(descriptor) == ""
    os.close(descriptor)
    (folder.path / "old").mkdir()
    (other / "new").mkdir()
    assert set(folder.wait(lambda notes: "new" in notes.names).names) == {"new"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "inotify watch limit reached"), "watch limit"),
        (OSError(errno.EMFILE, "inotify instance limit reached"), "instance limit"),
    ],
)
def test_without_inotify_the_reason_is_returned(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    """A limit of the system is an answer, not an exception."""

    def fail(*_arguments: object) -> int:
        raise error

    monkeypatch.setattr(InotifyFD, "add_callback", fail)
    assert words in folder.watcher.follow(folder.descriptor)
    assert not folder.watcher.alive


def test_a_watch_that_was_silently_refused_is_noticed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """For EACCES watchdog returns a descriptor that is none."""
    monkeypatch.setattr(InotifyFD, "add_callback", lambda *_arguments: -1)
    assert folder.watcher.follow(folder.descriptor) == "permission denied"
    assert not folder.watcher.alive


def test_nothing_is_left_open(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting, stopping and failing to start give back every descriptor."""
    folder.watcher.stop()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        folder.watcher.follow(folder.descriptor)
        folder.watcher.stop()

    def fail(_self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(InotifyFD, "start", fail)
    assert folder.watcher.follow(folder.descriptor) == "can't start new thread"
    assert len(os.listdir("/proc/self/fd")) == before
