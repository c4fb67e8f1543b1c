"""Renames that never overwrite, and files that are whole or absent."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from maildrop.spool import durable


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """Open an empty folder."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(params=["renameat2", "no such call", "not on this filesystem"])
def _renames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way in which a rename that never overwrites may have to be made."""

    def refuse(*_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    if request.param == "no such call":
        monkeypatch.setattr(durable, "_renameat2", None)
    elif request.param != "renameat2":
        monkeypatch.setattr(durable, "_renameat2", refuse)


@pytest.mark.usefixtures("_renames")
@pytest.mark.parametrize("kind", ["file", "folder", "empty folder", "dangling link"])
def test_rename_overwrites_nothing(folder: int, tmp_path: Path, kind: str) -> None:
    """Whatever has the name, an empty folder and a dangling link too, keeps it, and the source stays."""
    (tmp_path / "source").mkdir()
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("old")
    elif kind == "dangling link":
        target.symlink_to("nowhere")
    else:
        target.mkdir()
        if kind == "folder":
            (target / "old").touch()
    with pytest.raises(FileExistsError):
        durable.rename_noreplace(folder, "source", folder, "target")
    assert (tmp_path / "source").is_dir()


@pytest.mark.usefixtures("_renames")
def test_rename_of_nothing_is_not_found(folder: int) -> None:
    """A source that is gone is reported as such, whichever call is used."""
    with pytest.raises(FileNotFoundError):
        durable.rename_noreplace(folder, "source", folder, "target")


def test_a_lost_answer_is_no_failure(folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network filesystem that renames and then reports an error has renamed."""
    real = os.rename

    def rename(*arguments: object, **folders: object) -> NoReturn:
        real(*arguments, **folders)  # type: ignore[arg-type]
        raise FileNotFoundError(errno.ENOENT, "the request was sent twice")

    monkeypatch.setattr(durable, "_renameat2", None)
    monkeypatch.setattr(os, "rename", rename)
    (tmp_path / "source").mkdir()
    durable.rename_noreplace(folder, "source", folder, "target")
    assert os.listdir(tmp_path) == ["target"]


def test_nul_is_refused(folder: int, tmp_path: Path) -> None:
    """A NUL does not cut a name short at the border to C."""
    (tmp_path / "source").touch()
    with pytest.raises(ValueError, match="NUL"):
        durable.rename_noreplace(folder, "source\0x", folder, "target")
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.usefixtures("_renames")
def test_equal_names_are_numbered(folder: int, tmp_path: Path) -> None:
    """The second of a name is NAME.2, then NAME.3; a gap is filled before a new number is used."""
    got = []
    for _ in range(5):
        (tmp_path / "source").mkdir()
        got.append(durable.move_unclobbered(folder, "source", folder, "job"))
    assert got == ["job", "job.2", "job.3", "job.4", "job.5"]
    (tmp_path / "job.2").rmdir()
    (tmp_path / "source").mkdir()
    assert durable.move_unclobbered(folder, "source", folder, "job") == "job.2"


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("n" * 255, "n" * 253 + ".2"),
        ("ü" * 127, "ü" * 126 + ".2"),
        ("n" + "ü" * 127, "n" + "ü" * 126 + ".2"),
        ("€" * 85, "€" * 84 + ".2"),
        ("\udcff" * 255, "\udcff" * 253 + ".2"),
        (os.fsdecode(b"\x80" * 255), os.fsdecode(b"\x80" * 253) + ".2"),
    ],
)
def test_long_names_are_shortened(folder: int, tmp_path: Path, name: str, second: str) -> None:
    """A name of 255 octets makes room for its number, and no UTF-8 character is split."""
    for _ in range(2):
        (tmp_path / "source").mkdir()
        got = durable.move_unclobbered(folder, "source", folder, name)
    assert got == second
    assert len(os.fsencode(got)) <= 255


def test_many_equal_names_cost_few_looks(folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first free number among a thousand is found without looking at a thousand."""
    for number in range(1, 1001):
        (tmp_path / (f"job.{number}" if number > 1 else "job")).touch()
    (tmp_path / "source").touch()
    looks: list[str] = []
    real = os.stat

    def look(name: str, **options: Any) -> os.stat_result:
        looks.append(name)
        return real(name, **options)

    monkeypatch.setattr(os, "stat", look)
    assert durable.move_unclobbered(folder, "source", folder, "job") == "job.1001"
    assert len(looks) < 30


def test_folders_are_numbered(folder: int, tmp_path: Path) -> None:
    """A new folder does not take over an existing one."""
    (tmp_path / "job").touch()
    assert durable.make_folder_unclobbered(folder, "job", 0o700) == "job.2"
    assert (tmp_path / "job.2").is_dir()


def test_written_files_can_be_read_by_the_producer(folder: int, tmp_path: Path) -> None:
    """A result is readable whatever umask the daemon has; the folder around it keeps strangers out."""
    mask = os.umask(0o077)
    try:
        durable.write_atomically(folder, "result.toml", b"x", sync=False)
    finally:
        os.umask(mask)
    assert (tmp_path / "result.toml").stat().st_mode & 0o777 == 0o644


def test_a_planted_link_is_replaced_not_followed(folder: int, tmp_path: Path) -> None:
    """Links under our name or our temporary name never lead a write elsewhere."""
    canary = tmp_path / "canary"
    canary.write_text("alive")
    (tmp_path / "result.toml").symlink_to(canary)
    (tmp_path / durable.temporary_name("result.toml")).symlink_to(canary)
    durable.write_atomically(folder, "result.toml", b"new", sync=True)
    assert canary.read_text() == "alive"
    assert not (tmp_path / "result.toml").is_symlink()
    assert (tmp_path / "result.toml").read_bytes() == b"new"


def test_planted_folders_are_put_aside(folder: int, tmp_path: Path) -> None:
    """A folder in the way of our file, or of its temporary one, is renamed and keeps its content."""
    for name in ("result.toml", durable.temporary_name("result.toml")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "theirs").touch()
    durable.write_atomically(folder, "result.toml", b"new", sync=True)
    assert (tmp_path / "result.toml").read_bytes() == b"new"
    assert (tmp_path / "result.toml.previous" / "theirs").exists()


def test_write_new_overwrites_nothing(folder: int, tmp_path: Path) -> None:
    """A file that exists, or a link, is left as it is."""
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            durable.write_new(folder, name, b"new", sync=False)
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("call", ["write", "fchmod", "fsync", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failed_write_leaves_the_old_file(
    folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """When a disk is full or broken, the old content stays, nothing half-written does, and the caller is told."""
    (tmp_path / "result.toml").write_text("old")

    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        durable.write_atomically(folder, "result.toml", b"new", sync=True)
    assert durable.is_local_trouble(caught.value)
    assert os.listdir(tmp_path) == ["result.toml"]
    assert (tmp_path / "result.toml").read_text() == "old"


def test_short_writes_are_continued(folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes a few octets at a time gets all of them."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, octets: real(descriptor, octets[:3]))
    durable.write_new(folder, "file", b"0123456789", sync=False)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize(
    ("number", "local"),
    [
        (errno.ENOSPC, True),
        (errno.EDQUOT, True),
        (errno.EIO, True),
        (errno.EMFILE, True),
        (errno.ENFILE, True),
        (errno.EROFS, True),
        (errno.ESTALE, True),
        (errno.ENOENT, False),
        (errno.EACCES, False),
        (errno.ELOOP, False),
        (errno.ENAMETOOLONG, False),
    ],
)
def test_local_trouble(number: int, *, local: bool) -> None:
    """A full or broken disk and exhausted limits are this machine's fault; what a job's names cause is not."""
    assert durable.is_local_trouble(OSError(number, "")) is local
