"""Producers are other users: what they drop can be claimed, and nobody but they and the daemon can touch it."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from maildrop.spool.job import CannotClaim, Job, claim
from maildrop.spool.layout import Spool, State, init
from maildrop.spool.readiness import Drop, Kind
from maildrop.spool.record import Result, Status
from maildrop.spool.recovery import recover

AsUser = Callable[[int, Callable[[], Any]], Any]
Make = Callable[..., Result]

DAEMON = "daemon"
DAEMON_UID = 1
ALICE, MALLORY = 65534, 65533


@pytest.fixture
def path(public_path: Path, as_user: AsUser) -> Path:
    """Make a spool, as root, for another user; skipped where the tests don't run as root."""
    assert as_user(ALICE, os.geteuid) == ALICE
    assert pwd.getpwnam(DAEMON).pw_uid == DAEMON_UID
    init(str(public_path / "spool"), user=DAEMON)
    return public_path / "spool"


def drop(path: Path, name: str, *, mode: int = 0o777, mask: int = 0o077) -> Callable[[], None]:
    """Return what a producer does: make a folder with a file, under its umask."""

    def make() -> None:
        os.umask(mask)
        folder = path / "incoming" / name
        folder.mkdir(mode=mode)
        (folder / "envelope.toml").write_text("to = 'a@example.org'")

    return make


def claim_it(path: Path, name: str, kind: Kind = Kind.DIRECTORY) -> Callable[[], str]:
    """Return what the daemon does; a refusal is returned as its text."""

    def go() -> str:
        with Spool.open(str(path), volatile=True) as spool:
            try:
                return claim(spool, Drop(name=name, job=name.removesuffix(".eml"), kind=kind))
            except CannotClaim as error:
                return f"{error.what}\n{error.hint}"

    return go


def is_denied(action: Callable[[], object]) -> Callable[[], bool]:
    """Return a function that tells whether the action is forbidden."""

    def attempt() -> bool:
        try:
            action()
        except PermissionError:
            return True
        return False

    return attempt


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_whole_life(path: Path, as_user: AsUser, make_result: Make, mask: int) -> None:
    """Under any umask a job is claimed, read and settled by the daemon, and its producer can read the answer."""
    as_user(ALICE, drop(path, "j", mask=mask))
    assert as_user(DAEMON_UID, claim_it(path, "j")) == "j"

    def deliver() -> bytes:
        os.umask(0o077)
        with Spool.open(str(path), volatile=True) as spool, Job.open(spool, State.ACTIVE, "j") as job:
            content = job.folder.open_file("envelope.toml").read()
            job.prepare(make_result(a=Status.DELIVERED), completing=True)
            job.accept(State.SENT)
            job.finish(make_result())
            assert job.folder.owner == ALICE
            return content

    assert as_user(DAEMON_UID, deliver) == b"to = 'a@example.org'"
    assert b"sent" in as_user(ALICE, (path / "sent/j/result.toml").read_bytes)
    assert as_user(MALLORY, is_denied((path / "sent/j/result.toml").read_bytes))


def test_producers_are_safe_from_each_other(path: Path, as_user: AsUser) -> None:
    """Another user can neither read, nor change, nor move, nor remove a drop."""
    as_user(ALICE, drop(path, "j", mask=0))
    job = path / "incoming/j"
    for action in (
        partial(os.listdir, job),
        (job / "envelope.toml").read_bytes,
        lambda: (job / "planted").write_text("x"),
        lambda: job.rename(path / "incoming/k"),
        lambda: job.rename(path / "tmp/k"),
        partial(os.listdir, path / "active"),
        (path / "sent/x").mkdir,
        lambda: (path / "active").rename(path / "x"),
    ):
        assert as_user(MALLORY, is_denied(action))


def test_a_closed_folder_is_told_with_the_command_that_mends_it(path: Path, as_user: AsUser) -> None:
    """A job of mode 0700, as mkdtemp makes it, can't be claimed; the hint's command, run by its owner, mends it."""

    def make() -> str:
        name = Path(tempfile.mkdtemp(dir=path / "incoming", prefix="it's")).name
        (path / "incoming" / name / "envelope.toml").touch(mode=0o600)
        return name

    name = as_user(ALICE, make)
    reason, command = as_user(DAEMON_UID, claim_it(path, name)).split("\n")
    assert "Permission denied" in reason
    assert shlex.split(command) == ["chmod", "-R", "g+rwX", f"{path}/incoming/{name}"]
    assert as_user(ALICE, lambda: subprocess.run(command, shell=True, check=True).returncode) == 0
    assert as_user(DAEMON_UID, claim_it(path, name)) == name

    def read() -> bytes:
        with Spool.open(str(path), volatile=True) as spool, Job.open(spool, State.ACTIVE, name) as job:
            return job.folder.open_file("envelope.toml").read()

    assert as_user(DAEMON_UID, read) == b""


def test_without_the_acl_another_command_mends_it(path: Path, as_user: AsUser) -> None:
    """Where the default ACL is missing, setting one is the way."""
    os.removexattr(path / "incoming", "system.posix_acl_default")
    as_user(ALICE, drop(path, "j"))
    answer = as_user(DAEMON_UID, claim_it(path, "j"))
    assert answer.endswith(f"setfacl -R -m u:{DAEMON}:rwX {path}/incoming/j")
    assert os.listdir(path / "incoming") == ["j"]


def test_a_bare_file_comes_back_to_its_producer(path: Path, as_user: AsUser, make_result: Make) -> None:
    """A file that only its owner and the daemon may read is sent as the owner's, who can read the answer."""

    def make() -> None:
        os.umask(0o077)
        (path / "incoming/x.eml").write_bytes(b"mail")

    as_user(ALICE, make)
    assert as_user(DAEMON_UID, claim_it(path, "x.eml", Kind.EML)) == "x"

    def settle() -> tuple[int, bytes]:
        os.umask(0o077)
        with Spool.open(str(path), volatile=True) as spool, Job.open(spool, State.ACTIVE, "x") as job:
            content = job.folder.open_file("message.eml").read()
            job.settle(make_result(), State.SENT)
            return job.folder.owner, content

    assert as_user(DAEMON_UID, settle) == (ALICE, b"mail")
    assert b"sent" in as_user(ALICE, (path / "sent/x/result.toml").read_bytes)
    assert as_user(MALLORY, is_denied((path / "sent/x/result.toml").read_bytes))


def test_a_producer_that_closes_its_folder_later(path: Path, as_user: AsUser, make_result: Make) -> None:
    """Who takes the daemon's rights away after the claim keeps the job where it is, and it is named."""
    as_user(ALICE, drop(path, "j"))

    def betray() -> tuple[int | None, list[str]]:
        with Spool.open(str(path), volatile=True) as spool, Job.open(spool, State.ACTIVE, "j") as job:
            job.prepare(make_result(a=Status.DELIVERED), completing=True)
            wait_for_closing()
            try:
                job.accept(State.SENT)
            except OSError as error:
                return error.errno, recover(spool)
        return None, []

    assert as_user(DAEMON_UID, claim_it(path, "j")) == "j"
    reader, writer = os.pipe()

    def wait_for_closing() -> None:
        # active/ keeps Alice out by path, but not by a descriptor from before the claim: here root stands in for it.
        os.write(writer, b".")
        while os.stat(path / "active/j").st_mode & 0o070:
            pass

    closer = os.fork()
    if closer == 0:
        os.read(reader, 1)
        os.chmod(path / "active/j", 0o700)
        os._exit(0)
    number, said = as_user(DAEMON_UID, betray)
    os.waitpid(closer, 0)
    os.close(reader)
    os.close(writer)
    assert number == errno.EACCES
    assert len(said) == 1
    assert "can't be put in order: Permission denied" in said[0]
    assert (path / "active/j").is_dir()


def test_only_the_group_may_drop(public_path: Path, as_user: AsUser) -> None:
    """With a group, who is not in it can't even look."""
    init(str(public_path / "spool"), user=DAEMON, group="nogroup")
    path = public_path / "spool"

    as_user(ALICE, drop(path, "j"))  # the child's gid is its uid, and 65534 is nogroup
    assert as_user(DAEMON_UID, claim_it(path, "j")) == "j"
    assert as_user(MALLORY, is_denied((path / "incoming/k").mkdir))


def test_only_root_makes_a_spool_for_others(public_path: Path, as_user: AsUser) -> None:
    """A user makes a spool for itself, and is told so when it names another."""
    public_path.chmod(0o777)

    def make(user: str | None) -> Callable[[], str]:
        def go() -> str:
            try:
                init(str(public_path / "own"), user=user)
            except Exception as error:  # its text is the answer
                return str(error)
            return "made"

        return go

    assert "only root can make a spool for 'root'" in as_user(DAEMON_UID, make("root"))
    assert as_user(DAEMON_UID, make(None)) == "made"
    assert (public_path / "own/active").stat().st_uid == DAEMON_UID
