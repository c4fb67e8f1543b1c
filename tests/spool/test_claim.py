"""The claim: from incoming to active, whatever lies there, and whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from maildrop.spool import durable
from maildrop.spool.job import CannotClaim, Job, claim
from maildrop.spool.layout import Spool, State
from maildrop.spool.readiness import Drop, Kind
from maildrop.spool.recovery import recover

Drops = Callable[..., Drop]


def test_a_folder_moves_as_it_is(spool: Spool, spool_path: Path, drop_folder: Drops) -> None:
    """The job keeps its name and files; the marker and nothing else is removed."""
    drop = drop_folder("j", {"envelope.toml": b"", "attachments/a": b"a", "READY": b"", "attachments/READY": b""})
    assert claim(spool, drop) == "j"
    assert os.listdir(spool_path / "incoming") == []
    with Job.open(spool, State.ACTIVE, "j") as job:
        assert job.folder.walk() == ("attachments/READY", "attachments/a", "envelope.toml")
    assert not (spool_path / "active/j/READY").exists()


def test_names_are_never_taken_twice(spool: Spool, drop_folder: Drops) -> None:
    """Jobs of one name, and of names as long as they can be, all get in."""
    for name in ("j", "n" * 255, "caf\udce9"):
        claimed = [claim(spool, drop_folder(name)) for _ in range(3)]
        assert len(set(claimed)) == 3
        assert claimed[0] == name
    assert len(list(spool.names(State.ACTIVE))) == 9


def test_a_bare_file_gets_a_folder(spool: Spool, spool_path: Path, drop_folder: Drops, drop_file: Drops) -> None:
    """``NAME.eml`` becomes the job ``NAME``, beside a folder of that name ``NAME.2``."""
    assert claim(spool, drop_folder("x")) == "x"
    assert claim(spool, drop_file("x.eml", b"mail")) == "x.2"
    assert (spool_path / "active/x.2/message.eml").read_bytes() == b"mail"
    assert os.listdir(spool_path / "incoming") == []


@pytest.mark.parametrize(("name", "inside"), [("notes.pdf", "notes.pdf"), ("result.toml", "result.toml.previous")])
def test_a_stray_file_gets_a_folder_of_its_name(
    spool: Spool, spool_path: Path, drop_file: Drops, name: str, inside: str
) -> None:
    """What is not a job is kept whole, also when it is called like a record of ours."""
    assert claim(spool, drop_file(name, b"stray")) == name
    assert (spool_path / "active" / name / inside).read_bytes() == b"stray"


def test_stray_links_and_pipes_are_moved_not_opened(spool: Spool, spool_path: Path) -> None:
    """A stray link or pipe is put into a folder as it is."""
    (spool_path / "incoming/link").symlink_to("/etc/passwd")
    os.mkfifo(spool_path / "incoming/pipe")
    for name in ("link", "pipe"):
        assert claim(spool, Drop(name=name, job=name, kind=Kind.STRAY)) == name
    assert (spool_path / "active/link/link").is_symlink()
    assert (spool_path / "active/pipe/pipe").is_fifo()


def test_planted_records_are_put_aside(spool: Spool, spool_path: Path, drop_folder: Drops, tmp_path: Path) -> None:
    """A result copied along or planted as a link never passes for ours, and is not lost either."""
    canary = tmp_path / "canary"
    canary.write_text("alive")
    drop = drop_folder("j", {"result.toml": b"old", "result.toml.previous": b"older", "transcript.log": b"t"})
    (spool_path / "incoming/j/result.next").symlink_to(canary)
    claim(spool, drop)
    job = spool_path / "active/j"
    assert sorted(os.listdir(job)) == [
        "result.next.previous", "result.toml.previous", "result.toml.previous.2", "transcript.log.previous",
    ]  # fmt: skip
    assert (job / "result.toml.previous.2").read_text() == "old"
    with Job.open(spool, State.ACTIVE, "j") as opened:
        assert opened.read_result() is None
        assert opened.doubt() == ()
    assert canary.read_text() == "alive"


def test_a_crash_at_the_claim_keeps_the_marker(
    spool: Spool, spool_path: Path, drop_folder: Drops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drop that did not get in still has its ``READY``, else it would wait for ever in mode marker."""

    def fail(*_: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    drop = drop_folder("j", {"envelope.toml": b"", "READY": b""})
    monkeypatch.setattr(durable, "rename_noreplace", fail)
    with pytest.raises(OSError, match="Input/output"):
        claim(spool, drop)
    assert (spool_path / "incoming/j/READY").exists()


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_gone_is_not_found(spool: Spool, spool_path: Path, kind: Kind) -> None:
    """A drop that was taken back leaves nothing behind in active."""
    with pytest.raises(FileNotFoundError):
        claim(spool, Drop(name="j", job="j", kind=kind))
    assert os.listdir(spool_path / "active") == []


def test_a_swapped_folder_is_not_followed(spool: Spool, spool_path: Path, tmp_path: Path) -> None:
    """A folder that became a link to another's job is not claimed, and nothing is renamed where it leads."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.toml").touch()
    (spool_path / "incoming/j").symlink_to(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        claim(spool, Drop(name="j", job="j", kind=Kind.DIRECTORY))
    assert os.listdir(tmp_path / "other") == ["result.toml"]


def test_racing_with_a_rename(spool: Spool, spool_path: Path, drop_folder: Drops) -> None:
    """A producer that renames its drop while it is claimed ends with one job, in one folder, with all its files."""
    incoming, stop = spool_path / "incoming", threading.Event()

    def rename() -> None:
        while not stop.is_set():
            for source, target in (("j", "k"), ("k", "j")):
                if (incoming / source).exists():
                    try:
                        (incoming / source).rename(incoming / target)
                    except FileNotFoundError:
                        return

    for number in range(20):
        drop = drop_folder("j")
        stop.clear()
        racer = threading.Thread(target=rename)
        racer.start()
        try:
            claimed = None
            while claimed is None:
                try:
                    claimed = claim(spool, drop)
                except FileNotFoundError:
                    continue
        finally:
            stop.set()
            racer.join()
        assert os.listdir(incoming) == []
        assert os.listdir(spool_path / "active" / claimed) == ["envelope.toml"]
        assert len(os.listdir(spool_path / "active")) == number + 1


@pytest.mark.parametrize(
    ("number", "word"), [(errno.EACCES, "setfacl"), (errno.EXDEV, "mount"), (errno.EBUSY, "mount")]
)
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_may_not_be_moved_is_told(
    *,
    spool: Spool,
    spool_path: Path,
    drop_folder: Drops,
    drop_file: Drops,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    word: str,
    kind: str,
) -> None:
    """The reason and the way out are told, the drop stays, and nothing half-done is left."""

    def fail(*_: object) -> str:
        raise OSError(number, os.strerror(number))

    drop = drop_folder("it's") if kind == "folder" else drop_file("it's.eml")
    os.removexattr(spool_path / "incoming" / drop.name, "system.posix_acl_access")
    monkeypatch.setattr(durable, "rename_noreplace", fail)
    with pytest.raises(CannotClaim) as caught:
        claim(spool, drop)
    assert os.strerror(number) in caught.value.what
    assert word in caught.value.hint
    assert "'\"'\"'" in caught.value.hint  # quoted for a shell
    assert os.listdir(spool_path / "incoming") == [drop.name]
    assert os.listdir(spool_path / "active") == []


def test_half_a_claim_is_removed_and_a_dropped_empty_folder_is_not(
    spool: Spool, spool_path: Path, drop_file: Drops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash before the file got in leaves an empty folder of ours; a producer's empty folder is a job to judge."""

    class Killed(BaseException):
        """The process ended here."""

    def die(*_: object) -> str:
        raise Killed

    (spool_path / "incoming/empty").mkdir()
    (spool_path / "incoming/empty").chmod(0o700)
    claim(spool, Drop(name="empty", job="empty", kind=Kind.DIRECTORY))
    drop = drop_file("x.eml")
    with monkeypatch.context() as patch:
        patch.setattr(durable, "rename_noreplace", die)
        patch.setattr(os, "rmdir", die)
        with pytest.raises(Killed):
            claim(spool, drop)
    assert sorted(os.listdir(spool_path / "active")) == ["empty", "x"]
    assert recover(spool) == ["active/x: removed: an empty folder made for a file that is still in incoming"]
    assert os.listdir(spool_path / "active") == ["empty"]
    assert claim(spool, drop) == "x"


def test_no_descriptor_is_left(spool: Spool, drop_folder: Drops, drop_file: Drops) -> None:
    """Claims that succeed and claims that fail leave nothing open."""
    before = len(os.listdir("/proc/self/fd"))
    claim(spool, drop_folder("j"))
    claim(spool, drop_file("x.eml"))
    for kind in Kind:
        with pytest.raises(FileNotFoundError):
            claim(spool, Drop(name="gone", job="gone", kind=kind))
    assert len(os.listdir("/proc/self/fd")) == before
