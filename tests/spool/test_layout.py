"""A spool: made, mended, checked, opened, and owned by one daemon."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from maildrop.errors import CannotCreate, ConfigurationError, NotPermitted, TryLater, UsageError
from maildrop.spool import founding, volume
from maildrop.spool.layout import Settling, Spool, State, init

FOLDERS = ["active", "deferred", "failed", "held", "incoming", "sent", "tmp"]
ME = "root" if os.geteuid() == 0 else None


def modes(path: Path) -> dict[str, int]:
    """Return the modes of the spool's folders."""
    return {name: stat.S_IMODE((path / name).stat().st_mode) for name in os.listdir(path)}


def test_init_makes_the_layout(tmp_path: Path) -> None:
    """All folders are made with their modes, whatever the umask, and a sentence says so for each."""
    mask = os.umask(0o077)
    try:
        said = init(str(tmp_path / "a" / "spool"), user=ME)
    finally:
        os.umask(mask)
    path = tmp_path / "a" / "spool"
    assert modes(path) == {
        "incoming": 0o1777, "tmp": 0o1777, "active": 0o700, "deferred": 0o755, "held": 0o755, "sent": 0o755,
        "failed": 0o755,
    }  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert len(said) == 8
    assert all(sentence.startswith(str(path)) for sentence in said)


def test_init_gives_the_daemon_a_default_acl(spool_path: Path) -> None:
    """What is made in incoming and tmp inherits the daemon's rights, and gives others none."""
    for name in ("incoming", "tmp"):
        acl = os.getxattr(spool_path / name, "system.posix_acl_default")
        entries = list(struct.iter_unpack("<HHI", acl[4:]))
        nobody = 0xFFFFFFFF
        assert entries == [
            (1, 7, nobody), (2, 7, os.geteuid()), (4, 0, nobody), (16, 7, nobody), (32, 0, nobody),
        ]  # fmt: skip
        (spool_path / name / "made").mkdir(mode=0o755)
        assert stat.S_IMODE((spool_path / name / "made").stat().st_mode) & 0o007 == 0


def test_init_a_second_time_leaves_all_as_it_is(spool_path: Path) -> None:
    """Nothing is changed, nothing is emptied, and every sentence says so."""
    (spool_path / "sent" / "job").mkdir()
    said = init(str(spool_path), user=ME)
    assert all(sentence.endswith("left as it is") for sentence in said)
    assert (spool_path / "sent" / "job").is_dir()


def test_init_mends(spool_path: Path) -> None:
    """A missing folder, a wrong mode and a lost ACL are mended, and said."""
    (spool_path / "held").rmdir()
    (spool_path / "incoming").chmod(0o777)
    os.removexattr(spool_path / "tmp", "system.posix_acl_default")
    said = {sentence.split(": ")[0].rpartition("/")[2]: sentence for sentence in init(str(spool_path), user=ME)}
    assert "made" in said["held"]
    assert "mode 1777" in said["incoming"]
    assert "default ACL" in said["tmp"]
    assert said["sent"].endswith("left as it is")
    assert modes(spool_path)["incoming"] == 0o1777


def test_init_for_a_group(tmp_path: Path) -> None:
    """With a group, others are kept out, and a later init without one keeps it so."""
    group = "root" if os.geteuid() == 0 else _own_group()
    path = tmp_path / "spool"
    init(str(path), user=ME, group=group)
    assert modes(path)["incoming"] == 0o1770
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert all(sentence.endswith("left as it is") for sentence in init(str(path), user=ME))


def _own_group() -> str:
    import grp  # noqa: PLC0415 - only where the tests don't run as root

    return grp.getgrgid(os.getegid()).gr_name


def test_init_refuses_what_it_would_spoil(tmp_path: Path) -> None:
    """A folder that holds something else is not turned into a spool."""
    (tmp_path / "letters").touch()
    with pytest.raises(CannotCreate, match="not empty"):
        init(str(tmp_path), user=ME)
    assert os.listdir(tmp_path) == ["letters"]
    with pytest.raises(CannotCreate):
        init(str(tmp_path / "letters"), user=ME)


def test_init_follows_no_link(spool_path: Path, tmp_path: Path) -> None:
    """A folder that was replaced by a link is named, and what it leads to is not touched."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (spool_path / "tmp").rmdir()
    (spool_path / "tmp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="is a link"):
        init(str(spool_path), user=ME)
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o700


def test_init_names_unknown_users(tmp_path: Path) -> None:
    """A user or group that does not exist is a mistake of the command line."""
    with pytest.raises(UsageError, match="no user 'nobody-here'"):
        init(str(tmp_path / "spool"), user="nobody-here")
    with pytest.raises(UsageError, match="no group 'none-here'"):
        init(str(tmp_path / "spool"), user=ME, group="none-here")
    assert not (tmp_path / "spool").exists()


def test_open_makes_missing_folders(spool_path: Path) -> None:
    """An existing spool whose folders are gone gets them again, with mode and ACL."""
    for name in FOLDERS:
        if name != "sent":
            (spool_path / name).rmdir()
    with Spool.open(str(spool_path), volatile=True):
        assert sorted(os.listdir(spool_path)) == FOLDERS
    assert modes(spool_path)["incoming"] == 0o1777
    assert os.getxattr(spool_path / "incoming", "system.posix_acl_default")


def test_open_makes_nothing_elsewhere(tmp_path: Path) -> None:
    """An empty mount point is not a spool, and nothing is made in it."""
    with pytest.raises(ConfigurationError, match="maildropd init"):
        Spool.open(str(tmp_path))
    with pytest.raises(ConfigurationError, match="maildropd init"):
        Spool.open(str(tmp_path / "nothing"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["incoming", "tmp", ""])
def test_open_refuses_an_open_spool(spool_path: Path, name: str) -> None:
    """World-writable without the sticky bit, users could take each other's jobs."""
    (spool_path / name).chmod(0o777)
    with pytest.raises(ConfigurationError, match=r"not sticky .* chmod \+t"):
        Spool.open(str(spool_path), volatile=True)


def test_open_names_all_that_is_wrong(spool_path: Path) -> None:
    """Every unsafe folder is reported, not the first."""
    (spool_path / "incoming").chmod(0o777)
    (spool_path / "sent").chmod(0o777)
    (spool_path / "held").rmdir()
    (spool_path / "held").symlink_to("/tmp")
    with pytest.raises(ConfigurationError) as caught:
        Spool.open(str(spool_path), volatile=True)
    assert [problem.where.rpartition("/")[2] for problem in caught.value.problems] == ["incoming", "held", "sent"]


def test_open_refuses_another_filesystem(spool_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder on another filesystem can't be moved to by rename."""
    device = (spool_path / "sent").stat().st_ino
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if status.st_ino == device:
            values = list(status)
            values[2] += 1
            return os.stat_result(values)
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(ConfigurationError, match="another filesystem"):
        Spool.open(str(spool_path), volatile=True)


def test_tmpfs_is_refused_unless_wanted(monkeypatch: pytest.MonkeyPatch, spool_path: Path) -> None:
    """Mail that a reboot would lose is not taken, but with ``spool.volatile``."""
    monkeypatch.setattr(volume, "filesystem_type", lambda _: "tmpfs")
    with pytest.raises(ConfigurationError, match="lost at the next reboot"):
        Spool.open(str(spool_path))
    Spool.open(str(spool_path), volatile=True).close()


@pytest.mark.parametrize(
    ("kind", "network", "ordered"),
    [
        ("ext4", False, True),
        ("xfs", False, False),
        ("nfs4", True, False),
        ("cifs", True, False),
        ("fuse.sshfs", True, False),
        ("9p", True, False),
        ("overlay", False, False),
        ("", False, False),
    ],
)
def test_filesystems(
    kind: str, spool_path: Path, monkeypatch: pytest.MonkeyPatch, *, network: bool, ordered: bool
) -> None:
    """Where others may write behind the kernel's back, the spool says so; and where a rewrite needs a sync."""
    monkeypatch.setattr(volume, "filesystem_type", lambda _: kind)
    with Spool.open(str(spool_path)) as spool:
        assert (spool.network, spool.orders_replacing_renames) == (network, ordered)


def test_the_kernel_names_the_filesystem() -> None:
    """The type is read from the kernel, for the mount that the descriptor is on."""
    descriptor = os.open("/proc", os.O_RDONLY)
    try:
        assert volume.filesystem_type(descriptor) == "proc"
    finally:
        os.close(descriptor)
    assert volume.filesystem_type(999_999) == ""


def test_one_owner(spool: Spool, spool_path: Path) -> None:
    """A second owner is refused at once and told the pid of the first; a look does not disturb."""
    assert spool.owner() is None
    spool.lock()
    with Spool.open(str(spool_path), volatile=True) as second:
        assert second.owner() == os.getpid() == spool.owner()
        with pytest.raises(TryLater, match=f"pid {os.getpid()}"):
            second.lock()
        spool.close()
        assert second.owner() is None
        second.lock()


def test_a_dead_owner_leaves_no_lock(spool: Spool, spool_path: Path) -> None:
    """An owner that was killed has no hold on the spool; one in another process has."""
    program = (
        "import os, sys; from maildrop.spool.layout import Spool; s = Spool.open(sys.argv[1], volatile=True); s.lock();"
        "print(os.getpid(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(spool_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        with pytest.raises(TryLater, match=f"pid {pid}"):
            spool.lock()
        owner.kill()
    spool.lock()
    assert spool.owner() == os.getpid()


def test_remake_incoming(spool: Spool, spool_path: Path, tmp_path: Path) -> None:
    """A folder that was replaced or removed is opened or made anew, under the same descriptor number."""
    number = spool.folder(State.INCOMING)
    (spool_path / "incoming").rename(tmp_path / "away")
    assert spool.incoming_identity() is None
    spool.remake_incoming()
    assert spool.folder(State.INCOMING) == number
    status = (spool_path / "incoming").stat()
    assert spool.incoming_identity() == (status.st_dev, status.st_ino)
    assert os.fstat(number).st_ino == status.st_ino
    assert not os.get_inheritable(number)
    assert modes(spool_path)["incoming"] == 0o1777


def test_remake_refuses_an_unsafe_incoming(spool: Spool, spool_path: Path) -> None:
    """A replacement that others could rob is not taken."""
    (spool_path / "incoming").rmdir()
    (spool_path / "incoming").mkdir()
    (spool_path / "incoming").chmod(0o777)
    with pytest.raises(ConfigurationError):
        spool.remake_incoming()


def test_free_fraction(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scarcer of octets and inodes counts; a filesystem that has no inode count is judged by octets."""
    assert 0 <= spool.free_fraction() <= 1
    counts = [4096, 4096, 1000, 500, 400, 100, 60, 30, 0, 255]
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result(counts))
    assert spool.free_fraction() == 0.3
    counts[5] = 0
    assert spool.free_fraction() == 0.4


def test_names(spool: Spool, spool_path: Path) -> None:
    """Jobs are listed by state; hidden names and running uploads are no jobs, and days are looked into."""
    for name in ("a", "b.eml", "upload.tmp", "x.part", ".hidden"):
        (spool_path / "incoming" / name).mkdir()
    for name in ("2026-11-23/x", "2026-11-23/y", "2026-11-24.2/x", "flat", "2026-01-01", "c.tmp"):
        (spool_path / "sent" / name).mkdir(parents=True)
    (spool_path / "sent" / "2026-01-01" / "result.toml").touch()
    (spool_path / "sent" / "2026-02-02").touch()
    assert sorted(spool.names(State.INCOMING)) == ["a", "b.eml"]
    assert sorted(spool.names(State.SENT)) == [
        "2026-01-01", "2026-02-02", "2026-11-23/x", "2026-11-23/y", "2026-11-24.2/x", "c.tmp", "flat",
    ]  # fmt: skip
    assert list(spool.names(State.HELD)) == []


def test_days(spool_path: Path) -> None:
    """In the daily layout settled jobs go to a folder of their day, beside a job of that name."""
    (spool_path / "sent" / "2026-11-23").mkdir()
    (spool_path / "sent" / "2026-11-23" / "result.toml").touch()
    (spool_path / "sent" / "2026-11-23.2").touch()
    with Spool.open(str(spool_path), volatile=True, layout=Settling.DAILY) as spool:
        first = spool.settled_folder(State.SENT, "2026-11-23")
        assert spool.settled_folder(State.SENT, "2026-11-23") == first
        assert os.fstat(first).st_ino == (spool_path / "sent" / "2026-11-23.3").stat().st_ino
        assert spool.settled_folder(State.DEFERRED, "2026-11-23") == spool.folder(State.DEFERRED)
        before = len(os.listdir("/proc/self/fd"))
        for day in range(1, 29):
            spool.settled_folder(State.FAILED, f"2026-02-{day:02}")
        assert len(os.listdir("/proc/self/fd")) < before + 5


def test_no_descriptor_is_left(spool_path: Path) -> None:
    """Opening, refusing and closing leave the number of descriptors as it was."""
    before = len(os.listdir("/proc/self/fd"))
    spool = Spool.open(str(spool_path), volatile=True, layout=Settling.DAILY)
    spool.lock()
    spool.settled_folder(State.SENT, "2026-11-23")
    spool.remake_incoming()
    spool.close()
    spool.close()
    (spool_path / "incoming").chmod(0o777)
    with pytest.raises(ConfigurationError):
        Spool.open(str(spool_path), volatile=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_permission_is_told(spool_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not open the spool is told whom to be."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(founding, "open_or_make", refuse)
    with pytest.raises(NotPermitted, match="the user that owns the spool"):
        Spool.open(str(spool_path), volatile=True)
