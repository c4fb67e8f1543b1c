"""Looking at a drop: what is seen of it, what it costs, and what opening its files proves."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maildrop.mail.part import SourceChanged
from maildrop.spool import observe
from maildrop.spool.files import FileSource
from maildrop.spool.observe import glance, has_writer, kind_of, prove, status_of, survey
from maildrop.spool.readiness import Kind, Proof, Sight


class Incoming:
    """A folder of drops, by descriptor and by path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def job(self, name: str = "job", **files: str) -> Path:
        """Make a job directory; ``body_txt="…"`` makes body.txt."""
        folder = self.path / name
        folder.mkdir()
        for file, content in files.items():
            (folder / file.replace("_", ".")).write_text(content)
        return folder

    def status(self, name: str = "job") -> os.stat_result:
        """Return the status of an entry that is there."""
        status = status_of(self.descriptor, name)
        assert status is not None
        return status

    def look(self, name: str = "job") -> Sight:
        """Survey an entry."""
        status = self.status(name)
        return survey(self.descriptor, name, kind_of(name, status, eml=True), status)

    def prove(self, name: str = "job", *named: str, leases: bool = True) -> Proof:
        """Prove an entry whose envelope names these files."""
        status, sight = self.status(name), self.look(name)
        return prove(self.descriptor, name, sight, status, lambda _octets: frozenset(named), leases=leases)


@pytest.fixture
def incoming(tmp_path: Path) -> Iterator[Incoming]:
    """Give an empty folder."""
    path = tmp_path / "incoming"
    path.mkdir()
    made = Incoming(path)
    yield made
    os.close(made.descriptor)


def test_all_that_is_in_a_folder_is_seen(incoming: Incoming) -> None:
    """Files, subfolders and what is in them, each by its path; only regular files count as files."""
    job = incoming.job(envelope_toml="", body_txt="")
    (job / "attachments").mkdir()
    (job / "attachments" / "a.pdf").write_text("")
    (job / "link").symlink_to("/etc/passwd")
    os.mkfifo(job / "pipe")
    sight = incoming.look()
    assert sight.names == {"envelope.toml", "body.txt", "attachments", "attachments/a.pdf", "link", "pipe"}
    assert sight.files == {"envelope.toml", "body.txt", "attachments/a.pdf"}
    assert not sight.empty


@pytest.mark.parametrize(
    "change",
    [
        lambda job: (job / "new").write_text(""),
        lambda job: (job / "body.txt").unlink(),
        lambda job: (job / "body.txt").write_text("longer"),
        lambda job: os.utime(job / "body.txt", ns=(0, 0)),
        lambda job: (job / "body.txt").rename(job / "body.text"),
        lambda job: os.utime(job / "attachments" / "a", ns=(0, 0)),
    ],
)
def test_every_change_shows(incoming: Incoming, change: Callable[[Path], object]) -> None:
    """Name, size and mtime of every file, in subfolders too, make the fingerprint."""
    job = incoming.job(body_txt="")
    (job / "attachments").mkdir()
    (job / "attachments" / "a").write_text("")
    before = incoming.look().fingerprint
    assert incoming.look().fingerprint == before
    change(job)
    assert incoming.look().fingerprint != before


def test_a_marker_is_a_regular_file(incoming: Incoming) -> None:
    """READY marks; a folder of that name does not, nor does a link."""
    incoming.job("yes", READY="")
    (incoming.job("folder") / "READY").mkdir()
    (incoming.job("link") / "READY").symlink_to("/etc/passwd")
    assert [incoming.look(name).marked for name in ("yes", "folder", "link")] == [True, False, False]


def test_empty_is_without_message(incoming: Incoming) -> None:
    """A folder with nothing but the marker is empty, and so is a file of no octets."""
    incoming.job("nothing")
    incoming.job("marker", READY="")
    (incoming.path / "x.eml").touch()
    assert all(incoming.look(name).empty for name in ("nothing", "marker", "x.eml"))


def test_the_newest_stamp_is_not_fooled_by_a_copied_mtime(incoming: Incoming) -> None:
    """``cp -p`` brings an old mtime along; the ctime tells when the file came."""
    job = incoming.job(body_txt="")
    made = (job / "body.txt").stat().st_ctime
    for path in (job / "body.txt", job):
        os.utime(path, (1e9, 1e9))
    assert incoming.look().newest >= made


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: path.mkdir(), Kind.DIRECTORY),
        (lambda path: path.write_text("x"), Kind.EML),
        (lambda path: path.symlink_to("/etc/passwd"), Kind.STRAY),
        (os.mkfifo, Kind.STRAY),
    ],
)
def test_kinds(incoming: Incoming, make: Callable[[Path], object], kind: Kind) -> None:
    """Only a regular file is a bare message, whatever the name says; links are never followed."""
    make(incoming.path / "x.eml")
    assert kind_of("x.eml", incoming.status("x.eml"), eml=True) is kind


def test_bare_messages_can_be_switched_off(incoming: Incoming) -> None:
    """Without ``intake.eml`` a bare message is a stray file."""
    (incoming.path / "x.eml").write_text("x")
    assert kind_of("x.eml", incoming.status("x.eml"), eml=False) is Kind.STRAY


def test_a_glance_sees_a_plain_job(incoming: Incoming) -> None:
    """An envelope, or a bare message with content, is enough; all else needs a closer look."""
    incoming.job("job", envelope_toml="")
    incoming.job("empty")
    (incoming.path / "x.eml").write_text("x")
    folder, status = incoming.descriptor, incoming.status("x.eml")
    assert glance(folder, "job", Kind.DIRECTORY, incoming.status("job"))
    assert glance(folder, "x.eml", Kind.EML, status)
    assert not glance(folder, "empty", Kind.DIRECTORY, incoming.status("empty"))
    assert not glance(folder, "x.eml", Kind.STRAY, status)


def test_what_is_gone_is_gone(incoming: Incoming) -> None:
    """A name that vanished since the listing is no error, and one that vanishes under our eyes says so."""
    assert status_of(incoming.descriptor, "nothing") is None
    job = incoming.job()
    status = incoming.status()
    job.rmdir()
    with pytest.raises(FileNotFoundError):
        survey(incoming.descriptor, "job", Kind.DIRECTORY, status)


def test_a_folder_swapped_for_a_link_is_not_followed(incoming: Incoming) -> None:
    """What is no longer the folder that was seen counts as gone."""
    job = incoming.job()
    status = incoming.status()
    job.rmdir()
    job.symlink_to("/etc")
    with pytest.raises(FileNotFoundError):
        survey(incoming.descriptor, "job", Kind.DIRECTORY, status)


def test_a_survey_is_bounded(incoming: Incoming, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of a million files, or of endless folders, costs what a large job costs."""
    monkeypatch.setattr(observe, "_MAX_FILES", 5)
    monkeypatch.setattr(observe, "_MAX_DEPTH", 2)
    incoming.job("wide", **{f"f{number}": "" for number in range(20)})
    (incoming.job("deep") / "1" / "2" / "3" / "4").mkdir(parents=True)
    assert len(incoming.look("wide").names) == 5
    assert incoming.look("deep").names == {"1", "1/2", "1/2/3"}


def test_names_of_any_octets(incoming: Incoming) -> None:
    """File names that are not UTF-8 are seen, and make a fingerprint."""
    job = incoming.job()
    (job / os.fsdecode(b"\xff\n")).write_text("")
    assert os.fsdecode(b"\xff\n") in incoming.look().files


def test_missing_files_are_found(incoming: Incoming) -> None:
    """What the envelope names and is not there is missing, unless it could never come."""
    incoming.job(envelope_toml="", body_txt="")
    named = ("body.txt", "a.pdf", "sub/b.pdf", "../c", "/etc/passwd", "a\0b", "")
    assert incoming.prove("job", *named).missing == {"a.pdf", "sub/b.pdf"}


def test_an_envelope_far_too_large_is_not_read(incoming: Incoming, monkeypatch: pytest.MonkeyPatch) -> None:
    """It will be refused for its size; nobody waits for what it names."""
    monkeypatch.setattr(observe, "_MAX_ENVELOPE_OCTETS", 10)
    incoming.job(envelope_toml="x" * 11)
    assert incoming.prove("job", "a.pdf") == Proof()


def test_a_link_for_an_envelope_is_no_reason_to_wait(incoming: Incoming) -> None:
    """It is never opened; the job's verdict will name it."""
    job = incoming.job(message_eml="x")
    (job / "envelope.toml").symlink_to("/etc/passwd")
    assert incoming.prove("job", "a.pdf") == Proof()


def test_a_writer_is_found(incoming: Incoming) -> None:
    """A file that any process has open for writing gets no lease; a reader does not matter."""
    job = incoming.job(envelope_toml="", body_txt="x")
    with (job / "body.txt").open():
        assert incoming.prove().writer == ""
    with (job / "body.txt").open("a"):
        assert incoming.prove().writer == "body.txt"
        assert incoming.prove(leases=False).writer == ""
    assert incoming.prove().writer == ""


def test_a_writer_of_a_bare_message_is_found(incoming: Incoming) -> None:
    """A single file is proved like a folder's."""
    path = incoming.path / "x.eml"
    with path.open("w") as file:
        file.write("From: a@example.com\n")
        file.flush()
        assert incoming.prove("x.eml").writer == "x.eml"
    assert incoming.prove("x.eml") == Proof()


def test_another_process_lease_is_a_writers(incoming: Incoming) -> None:
    """A file server that holds a write lease for its client keeps us from opening the file: somebody may be writing."""
    job = incoming.job(body_txt="")
    holder = os.open(job / "body.txt", os.O_RDWR)
    fcntl.fcntl(holder, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    assert incoming.prove().writer == "body.txt"
    os.close(holder)
    assert incoming.prove().writer == ""


def test_a_file_that_will_be_refused_is_no_reason_to_wait(incoming: Incoming) -> None:
    """A file with two links, the envelope too, is never sent; the job's verdict will name it."""
    job = incoming.job(envelope_toml="", body_txt="")
    for name in ("envelope.toml", "body.txt"):
        (incoming.path / f".{name}").hardlink_to(job / name)
    assert incoming.prove("job", "a.pdf") == Proof()


def test_an_envelope_that_changes_while_it_is_read_is_missing(
    incoming: Incoming, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an envelope names nothing reliably: the job is looked at again."""

    def read(_source: FileSource) -> bytes:
        raise SourceChanged("envelope.toml", "the file was changed while it was being read")

    monkeypatch.setattr(FileSource, "read", read)
    incoming.job(envelope_toml="")
    assert incoming.prove().missing == {"envelope.toml"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EINVAL, errno.ENOLCK])
def test_where_there_are_no_leases_there_are_no_writers(
    incoming: Incoming, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Another user's file, or a filesystem without leases: nothing is proved, and nothing held up."""
    job = incoming.job(body_txt="")

    def refuse(_descriptor: int, command: int, _argument: int) -> int:
        if command == fcntl.F_SETLEASE:
            raise OSError(number, os.strerror(number))
        return 0

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with (job / "body.txt").open("a") as file:
        assert not has_writer(file.fileno())


def test_a_lease_that_is_broken_does_not_kill_us(tmp_path: Path) -> None:
    """A producer may open the file just while we hold the lease: the kernel's signal then must not end the daemon."""
    program = """
        import fcntl, os, sys, threading, time
        from maildrop.spool.observe import has_writer

        path, real, broken = sys.argv[1], fcntl.fcntl, []

        def in_between(descriptor, command, argument=0):
            result = real(descriptor, command, argument)
            if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_RDLCK):
                threading.Thread(target=lambda: os.close(os.open(path, os.O_WRONLY)), daemon=True).start()
                deadline = time.monotonic() + 10
                while real(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK and time.monotonic() < deadline:
                    os.sched_yield()
                broken.append(real(descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK)
            return result

        fcntl.fcntl = in_between
        has_writer(os.open(path, os.O_RDONLY))
        sys.exit(0 if broken == [True] else 3)
    """
    path = tmp_path / "file"
    path.touch()
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), path], check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_what_can_not_be_read_is_said(incoming: Incoming) -> None:
    """A folder, a subfolder or a file that is closed to us is named with the reason; nothing is raised."""
    incoming.job("folder").chmod(0o700)
    below = incoming.job("below")
    (below / "sub").mkdir(mode=0o700)
    closed = incoming.job("closed", envelope_toml="", body_txt="")
    (closed / "body.txt").chmod(0o600)
    incoming.job("blind", body_txt="").chmod(0o704)  # its names can be listed, and nothing more
    incoming.job("sealed", envelope_toml="").joinpath("envelope.toml").chmod(0o600)
    incoming.path.chmod(0o755)
    os.seteuid(65534)
    try:
        assert incoming.look("folder").unreadable == ".: Permission denied"
        assert incoming.look("below").unreadable == "sub: Permission denied"
        assert incoming.look("blind").unreadable == ".: Permission denied"
        assert incoming.look("closed").unreadable == ""
        assert incoming.prove("sealed").unreadable == "envelope.toml: Permission denied"
        assert incoming.prove("closed").unreadable == "body.txt: Permission denied"
        assert not glance(incoming.descriptor, "folder", Kind.DIRECTORY, incoming.status("folder"))
    finally:
        os.seteuid(0)
