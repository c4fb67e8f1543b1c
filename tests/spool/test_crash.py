"""Killed after any of its calls to the kernel, a job is in one folder, whole, and its doubt is known.

A child process carries one job through its life and is ended, without a chance to tidy up, after its n-th call; for
every n until it gets through. ``DOT`` stands for the final dot and a server that took the mail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from maildrop.spool import durable
from maildrop.spool.job import Job, claim
from maildrop.spool.layout import Spool, State
from maildrop.spool.readiness import Drop
from maildrop.spool.record import Outcome, Result, Status
from maildrop.spool.recovery import recover

Make = Callable[..., Result]
Drops = Callable[..., Drop]
Dot = Callable[[], object]

CALLS = ("open", "mkdir", "rename", "unlink", "rmdir", "write", "fchmod", "fsync", "close", "setxattr")
KILLED, THROUGH = 9, 0
MOST_CALLS = 80


def die_after(calls: int) -> None:
    """End this process right after that many calls."""
    made = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            answer = real(*arguments, **options)
            made += 1
            if made == calls:
                os._exit(KILLED)
            return answer

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    assert durable._renameat2 is not None
    durable._renameat2 = counted(durable._renameat2)


def run_until_killed(life: Callable[[Dot], None], calls: int) -> tuple[int, int]:
    """Live in a child that dies after so many calls; return its exit code and how many dots it sent."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        write = os.write
        die_after(calls)
        try:
            life(lambda: write(writer, b"."))
        except BaseException:  # the code tells
            os._exit(1)
        os._exit(THROUGH)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        dots = len(pipe.read())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), dots


def completing(spool: Spool, make: Make, drop: Drop, send_dot: Dot) -> None:
    """Finish the job with one transaction."""
    with Job.open(spool, State.ACTIVE, claim(spool, drop)) as job:
        job.prepare(make(a=Status.DELIVERED), completing=True)
        send_dot()
        job.accept(State.SENT)
        durable.sync_directory(job.landing)
        job.finish(make(a=(Status.DELIVERED, 250)))


def in_two(spool: Spool, make: Make, drop: Drop, send_dot: Dot) -> None:
    """Deliver to ``a``, then to ``b`` in a second transaction."""
    with Job.open(spool, State.ACTIVE, claim(spool, drop)) as job:
        job.prepare(make(Outcome.DEFERRED, a=Status.DELIVERED, b=Status.PENDING), completing=False)
        send_dot()
        job.accept(None)
        durable.sync_directory(job.landing)
        job.prepare(make(a=(Status.DELIVERED, 250), b=Status.DELIVERED), completing=True)
        send_dot()
        job.accept(State.SENT)
        durable.sync_directory(job.landing)
        job.finish(make(a=(Status.DELIVERED, 250), b=(Status.DELIVERED, 250)))


def refused(spool: Spool, make: Make, drop: Drop, _send_dot: Dot) -> None:
    """Be refused after the dot, twice: first it is tried again, then failed."""
    with Job.open(spool, State.ACTIVE, claim(spool, drop)) as job:
        job.prepare(make(Outcome.DEFERRED, a=Status.DELIVERED, b=Status.PENDING), completing=False)
        job.note(make(Outcome.DEFERRED, a=(Status.DEFERRED, 451), b=Status.PENDING))
        job.prepare(make(Outcome.PARTIAL, a=Status.DELIVERED, b=(Status.REJECTED, 550)), completing=True)
        job.settle(make(Outcome.FAILED, a=(Status.REJECTED, 550), b=(Status.REJECTED, 550)), State.FAILED)


def places(path: Path) -> Iterator[Path]:
    """Yield every job, and every drop."""
    for state in State:
        yield from (entry for entry in (path / state).iterdir() if not entry.name.startswith("."))


def crash_points(
    spool: Spool, path: Path, drop: Callable[[], Drop], live: Callable[[Drop, Dot], None]
) -> Iterator[tuple[int, Path, int]]:
    """Live and die at every point; yield the exit code, where the one job is after recovery, and the dots sent."""
    for calls in range(1, MOST_CALLS):
        code, dots = run_until_killed(partial(live, drop()), calls)
        assert code in (KILLED, THROUGH)
        recover(spool)
        (place,) = places(path)
        message = place if place.is_file() else place / "message.eml"
        assert message.read_bytes() == b"mail"
        yield code, place, dots
        if code == THROUGH:
            return
        place.rename(path.parent / f"done{calls}")
    pytest.fail("it never got through")


def doubt_of(spool: Spool, place: Path) -> tuple[str, ...]:
    """Return the job's doubt after the restart."""
    if place.parent.name != State.ACTIVE:
        return ()
    with Job.open(spool, State.ACTIVE, place.name) as job:
        return job.doubt()


@pytest.fixture
def drop(drop_folder: Drops, drop_file: Drops) -> Drops:
    """Drop the same mail as a folder or as a file."""

    def make(kind: str) -> Drop:
        if kind == "folder":
            return drop_folder("j", {"message.eml": b"mail", "READY": b""})
        return drop_file("j.eml", b"mail")

    return make


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_completing(spool: Spool, spool_path: Path, drop: Drops, make_result: Make, kind: str) -> None:
    """In ``sent/`` is sent; sent and not there is in doubt; and a doubt without a dot is three calls wide."""
    unsent_doubts = 0
    seen = set()
    for _, place, dots in crash_points(spool, spool_path, partial(drop, kind), partial(completing, spool, make_result)):
        state, doubt = place.parent.name, doubt_of(spool, place)
        seen.add((state, bool(doubt)))
        if state == State.SENT:
            assert dots == 1
        elif dots:
            assert doubt == ("a@example.org",)
        else:
            unsent_doubts += bool(doubt)
    assert seen >= {("incoming", False), ("active", False), ("active", True), ("sent", False)}
    assert unsent_doubts <= 3  # killed after the write, the sync or the close that come before the dot


def test_in_two_transactions(spool: Spool, spool_path: Path, drop: Drops, make_result: Make) -> None:
    """After each dot exactly its own recipient is in doubt until the record counts; nobody is forgotten."""
    for _, place, dots in crash_points(spool, spool_path, partial(drop, "folder"), partial(in_two, spool, make_result)):
        state, doubt = place.parent.name, doubt_of(spool, place)
        if state == State.SENT:
            assert dots == 2
        elif state == State.DEFERRED:  # the first one counts, and recovery has moved the job to wait for the second
            assert dots == 1
        elif doubt == ("b@example.org",):
            assert dots in (1, 2)
        elif dots:
            assert doubt == ("a@example.org",)
            assert dots == 1


def test_refused(spool: Spool, spool_path: Path, drop: Drops, make_result: Make) -> None:
    """Once the refusal is noted there is no doubt, and the job ends where its last record says."""
    last = None
    for code, place, _ in crash_points(
        spool, spool_path, partial(drop, "folder"), partial(refused, spool, make_result)
    ):
        if code == THROUGH:
            last = place
        doubt = doubt_of(spool, place)
        assert doubt in ((), ("a@example.org",))
        record = place / "result.toml"
        assert not (doubt and record.exists() and "451" in record.read_text())
    assert last is not None
    assert last.parent.name == State.FAILED
