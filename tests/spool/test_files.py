"""A producer's files, opened safely: nothing but the job's own regular files is ever read."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maildrop.mail.part import SourceChanged
from maildrop.spool import tree
from maildrop.spool.files import FileSource, JobFolder
from maildrop.spool.tree import FileRefused

CANARY = b"the secret of another user"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Make a job's folder, with a secret outside of it."""
    (tmp_path / "secret").write_bytes(CANARY)
    folder = tmp_path / "job"
    (folder / "attachments").mkdir(parents=True)
    (folder / "body.txt").write_bytes(b"hello")
    (folder / "attachments" / "a.pdf").write_bytes(b"%PDF")
    return folder


@pytest.fixture
def opened(job: Path) -> Iterator[JobFolder]:
    """Open that folder."""
    parent = os.open(job.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with JobFolder.open(parent, "job") as folder:
            yield folder
    finally:
        os.close(parent)


@pytest.fixture(params=["openat2", "step by step"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel's openat2, and without."""
    if request.param == "step by step":
        monkeypatch.setattr(tree, "_SYS_OPENAT2", 100_000)  # a call that no kernel has


pytestmark = pytest.mark.usefixtures("_ways")


def descriptors() -> int:
    """Count this process's descriptors."""
    return len(os.listdir("/proc/self/fd"))


def test_files_are_read(opened: JobFolder) -> None:
    """A regular file is read, in the folder and below."""
    assert opened.open_file("body.txt").read() == b"hello"
    source = opened.open_file("attachments/a.pdf")
    assert (source.name, source.size, source.read()) == ("attachments/a.pdf", 4, b"%PDF")


def bind_socket(path: Path) -> None:
    """Make a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


# What a producer may plant under a name of its job: (where, the job's folder) -> None.
PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "absolute link": lambda path, job: path.symlink_to(job.parent / "secret"),
    "relative link": lambda path, job: path.symlink_to(os.path.relpath(job.parent / "secret", path.parent)),
    "link inside": lambda path, job: path.symlink_to(job / "body.txt"),
    "dangling link": lambda path, _: path.symlink_to("nowhere"),
    "loop": lambda path, _: path.symlink_to(path.name),
    "magic link": lambda path, _: path.symlink_to("/proc/self/environ"),
    "hard link": lambda path, job: os.link(job.parent / "secret", path),
    "own hard link": lambda path, job: os.link(job / "body.txt", path),
    "fifo": lambda path, _: os.mkfifo(path),
    "socket": lambda path, _: bind_socket(path),
    "folder": lambda path, _: path.mkdir(),
    "device": lambda path, _: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3)),
}


@pytest.mark.parametrize("name", ["envelope.toml", "message.eml", "planted", "attachments/planted"])
@pytest.mark.parametrize("kind", PLANTED)
def test_only_regular_files_with_one_link(job: Path, opened: JobFolder, kind: str, name: str) -> None:
    """Links of every kind, pipes, sockets, devices and folders are refused at once, in every role."""
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("only root can make a device node")
    PLANTED[kind](job / name, job)
    with pytest.raises(FileRefused) as caught:
        opened.open_file(name)
    assert caught.value.problems[0].where == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../secret", "/etc/passwd", "a/../body.txt", "./body.txt", "attachments/", "attachments//a.pdf",
        "body.txt\0", "\0", "attachments/../../secret", "linked/secret",
        "inside/a.pdf", "body.txt/x", "nothing", "nothing/x",
        "n" * 256,
    ],
)  # fmt: skip
def test_paths_stay_inside(job: Path, opened: JobFolder, name: str) -> None:
    """No spelling of a path leads out of the job, or through a linked folder."""
    (job / "linked").symlink_to(job.parent)
    (job / "inside").symlink_to("attachments")
    with pytest.raises(FileRefused):
        opened.open_file(name)


def test_a_missing_file_is_told_as_such(opened: JobFolder) -> None:
    """The sentence for a missing file differs from that for a forbidden one."""
    with pytest.raises(FileRefused, match="is not in the job"):
        opened.open_file("attachments/b.pdf")


def test_names_that_are_not_utf8(job: Path, opened: JobFolder) -> None:
    """A name of any octets is listed and opened, and shown escaped."""
    (Path(os.fsencode(job).decode()) / "caf\udce9").write_bytes(b"x")
    assert "caf\udce9" in opened.walk()
    assert opened.open_file("caf\udce9").read() == b"x"
    os.mkfifo(job / "p\udce9")
    with pytest.raises(FileRefused, match=r"p\\xe9: is not a regular file"):
        opened.open_file("p\udce9")


def test_a_swapped_folder_changes_nothing(job: Path, opened: JobFolder) -> None:
    """The folder that was opened stays the one that is read, whatever is called so later."""
    job.rename(job.parent / "moved")
    (job.parent / "job").symlink_to(job.parent)
    assert opened.open_file("body.txt").read() == b"hello"


def test_a_job_folder_is_no_link(job: Path) -> None:
    """A link to a folder is not opened as a job."""
    (job.parent / "link").symlink_to(job)
    parent = os.open(job.parent, os.O_RDONLY | os.O_DIRECTORY)
    before = descriptors()
    try:
        for name in ("link", "secret"):
            with pytest.raises(NotADirectoryError):
                JobFolder.open(parent, name)
        assert descriptors() == before
    finally:
        os.close(parent)


def test_a_foreign_owner_is_refused(job: Path, opened: JobFolder) -> None:
    """A file of a third user, moved in by a trick, is not sent; the daemon's own is."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(job / "body.txt", 65534, 65534)
    with pytest.raises(FileRefused, match="belongs to uid 65534, the job to uid 0"):
        opened.open_file("body.txt")
    os.chown(job, 65534, 65534)
    parent = os.open(job.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with JobFolder.open(parent, "job", daemon=0) as theirs:
            assert theirs.open_file("body.txt").read() == b"hello"
            assert theirs.open_file("attachments/a.pdf").read() == b"%PDF"
            os.chown(job / "body.txt", 65533, 65533)
            with pytest.raises(FileRefused):
                theirs.open_file("body.txt")
    finally:
        os.close(parent)


def test_trouble_of_the_disk_is_not_the_jobs(opened: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """When we are out of descriptors the job is not blamed: OSError passes through."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="Too many open files"):
        opened.open_file("body.txt")


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 25])
def test_slices(job: Path, opened: JobFolder, size: int) -> None:
    """Every slice is full but the last, and a second reading gives the same octets."""
    content = bytes(range(size))
    (job / "body.txt").write_bytes(content)
    source = opened.open_file("body.txt")
    slices = list(source.chunks(10))
    assert b"".join(slices) == content == source.read()
    assert all(len(each) == 10 for each in slices[:-1])
    assert list(source.chunks(10)) == slices


def test_a_kernel_that_gives_little(job: Path, opened: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short reads, as network filesystems give them, still make full slices."""
    (job / "body.txt").write_bytes(b"0123456789" * 3)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: real(descriptor, min(length, 3), offset))
    assert list(opened.open_file("body.txt").chunks(20)) == [b"0123456789" * 2, b"0123456789"]


def grow(path: Path) -> None:
    """Append."""
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    """Write other octets of the same number, and hide it by setting the time back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"J")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = [grow, lambda path: os.truncate(path, 3), lambda path: os.truncate(path, 0), rewrite]


@pytest.mark.parametrize("change", CHANGES, ids=["grows", "shrinks", "empty", "rewritten"])
def test_a_changed_file_is_noticed(job: Path, opened: JobFolder, change: Callable[[Path], None]) -> None:
    """A file that grows, shrinks or is rewritten after it was opened is never handed out as if whole."""
    path = job / "body.txt"
    os.utime(path, ns=(0, 0))
    source = opened.open_file("body.txt")
    change(path)
    _settle_clock(path, source)
    with pytest.raises(SourceChanged):
        source.read()
    with pytest.raises(SourceChanged):
        list(source.chunks(2))


def _settle_clock(path: Path, source: FileSource) -> None:
    """Touch the file until its ctime differs: the kernel's clock has ticks, and the test is faster than one."""
    opened = source._stamp[2]
    while path.stat().st_ctime_ns == opened:
        path.chmod(0o644)


def test_a_change_in_mid_reading_is_noticed(job: Path, opened: JobFolder) -> None:
    """The last slice is not handed out when the file changed after the first one was."""
    path = job / "body.txt"
    path.write_bytes(b"x" * 30)
    source = opened.open_file("body.txt")
    chunks = source.chunks(10)
    next(chunks)
    grow(path)
    next(chunks)
    with pytest.raises(SourceChanged, match="34"):
        next(chunks)


def test_walk_lists_files_not_our_own(job: Path, opened: JobFolder) -> None:
    """All files of the job are listed, upload suffixes are not special, and the daemon's names are left out."""
    for name in ("READY", "result.toml", "result.next", "transcript.log", "result.toml.previous", "result.toml.torn.2"):
        (job / name).touch()
    for name in (".result.toml.tmp", "draft.tmp", "x.part", ".hidden", "attachments/READY", "result.toml.pdf"):
        (job / name).touch()
    (job / "attachments" / "deep").mkdir()
    (job / "attachments" / "deep" / "c").touch()
    (job / "link").symlink_to("/etc/passwd")
    (job / "empty").mkdir()
    assert opened.walk() == (
        ".hidden",
        "attachments/READY",
        "attachments/a.pdf",
        "attachments/deep/c",
        "body.txt",
        "draft.tmp",
        "link",
        "result.toml.pdf",
        "x.part",
    )


def test_walk_follows_no_link(job: Path, opened: JobFolder) -> None:
    """A linked folder is listed as one thing, not entered."""
    (job / "linked").symlink_to(job.parent)
    assert "linked" in opened.walk()
    assert "linked/secret" not in opened.walk()


def test_walk_is_bounded(job: Path, opened: JobFolder) -> None:
    """Too many files or folders, and folders too deep, end the listing with a sentence."""
    assert len(opened.walk(3)) == 2
    with pytest.raises(FileRefused, match="more than 2 files"):
        opened.walk(2)
    (job / "/".join("abcdefghi")).mkdir(parents=True)
    with pytest.raises(FileRefused, match="levels deep"):
        opened.walk()


def test_own_files(job: Path, opened: JobFolder) -> None:
    """Our own file is read; a link, a pipe, a second link or nothing is no file of ours."""
    (job / "result.toml").write_bytes(b"ours")
    assert opened.read_own("result.toml") == b"ours"
    assert opened.read_own("transcript.log") is None
    os.link(job / "result.toml", job / "second")
    assert opened.read_own("result.toml") is None
    (job / "link").symlink_to(job.parent / "secret")
    assert opened.read_own("link") is None
    os.mkfifo(job / "pipe")
    assert opened.read_own("pipe") is None
    assert opened.read_own("attachments") is None


def test_a_planted_own_file_is_not_read(job: Path, opened: JobFolder) -> None:
    """A result that another user made is nothing to us."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (job / "result.toml").write_bytes(b"planted")
    os.chown(job / "result.toml", 65534, 65534)
    assert opened.read_own("result.toml") is None


def test_no_descriptor_is_left(job: Path) -> None:
    """Files, refused files and listings leave nothing open once the folder is closed."""
    os.mkfifo(job / "pipe")
    before = descriptors()
    parent = os.open(job.parent, os.O_RDONLY | os.O_DIRECTORY)
    folder = JobFolder.open(parent, "job")
    os.close(parent)
    for name in ("body.txt", "attachments/a.pdf"):
        folder.open_file(name)
    for name in ("pipe", "nothing", "attachments/x", "attachments"):
        with pytest.raises(FileRefused):
            folder.open_file(name)
    folder.walk()
    with pytest.raises(FileRefused):
        folder.walk(1)
    folder.read_own("body.txt")
    folder.close()
    folder.close()
    assert descriptors() == before
