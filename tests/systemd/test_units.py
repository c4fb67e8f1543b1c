"""The unit is well-formed and tight, and the user, the spool and its rights come out as the daemon needs them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from functools import cache
from pathlib import Path

import pytest

from maildrop.spool import volume

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
UNIT = SYSTEMD / "maildropd.service"
EXPOSURE_LIMIT = 12  # tenths: at most 1.2

# What the daemon lives on besides plain reading and writing; a filter that refused one would show only at run time.
NEEDED_CALLS = """
    renameat2 linkat unlinkat mkdirat fchmod flock fcntl fsync fdatasync preadv pread64 getdents64 statfs
    fstatfs getxattr setxattr inotify_init1 inotify_add_watch epoll_wait epoll_pwait socket connect sendto recvfrom
    getrandom clone clone3 execve wait4
"""
REFUSED_CALLS = "ptrace mount setuid chroot reboot init_module bpf chown fchown setpriority"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of systemd's; skip with the install line where it is not installed."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed: apt-get install systemd")
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit with a program that exists, since the daemon's path is the user's choice."""
    path = tmp_path / UNIT.name
    lines = UNIT.read_text("utf-8").splitlines()
    path.write_text(
        "\n".join("ExecStart=/bin/true" if line.startswith("ExecStart=") else line for line in lines) + "\n"
    )
    return path


def settings() -> dict[str, list[str]]:
    """Return what the unit sets: a list for each name, since some are said twice."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@cache
def calls_in(group: str) -> frozenset[str]:
    """Return the system calls of a group such as @file-system, with those of the groups in it."""
    done = run("systemd-analyze", "syscall-filter", "--no-pager", group)
    assert done.returncode == 0, done.stderr
    words = [line.strip() for line in done.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    plain = {word for word in words if not word.startswith("@")}
    return frozenset(plain.union(*(calls_in(word) for word in words if word.startswith("@"))))


def test_the_unit_is_well_formed(unit: Path) -> None:
    """``systemd-analyze verify`` has nothing to say: no unknown or misspelt directive."""
    done = run("systemd-analyze", "verify", "--man=no", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_misspelt_directive_would_be_seen(unit: Path) -> None:
    """The check above can fail."""
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    done = run("systemd-analyze", "verify", "--man=no", unit)
    assert "WatchdogSecs" in done.stdout + done.stderr


def test_exposure_is_at_most_1_2(unit: Path) -> None:
    """The sandbox is as tight as a mailer's can be that knows its producers."""
    done = run("systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE_LIMIT}", unit)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("directive", ["PrivateDevices", "SystemCallFilter", "IPAddressDeny"])
def test_a_loosened_sandbox_would_be_seen(unit: Path, directive: str) -> None:
    """Taking one directive away goes over the limit."""
    unit.write_text("\n".join(line for line in unit.read_text().splitlines() if not line.startswith(directive)))
    done = run("systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE_LIMIT}", unit)
    assert done.returncode != 0


def test_the_filter_lets_the_daemon_work() -> None:
    """Each system call that the daemon needs is allowed, and those of an intruder are not."""
    wanted, unwanted = settings()["SystemCallFilter"]
    refused = frozenset[str]().union(*(calls_in(group) for group in unwanted.removeprefix("~").split()))
    allowed = calls_in(wanted) - refused
    assert set(NEEDED_CALLS.split()) - allowed == set()
    assert allowed.intersection(REFUSED_CALLS.split()) == set()


def test_the_watchdog_and_the_reload_are_wired() -> None:
    """The daemon's own notifications count, and a reload is a SIGHUP (``notify-reload`` is unknown to Debian 12)."""
    found = settings()
    assert found["Type"] == ["notify"]
    assert found["NotifyAccess"] == ["main"]
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert int(found["WatchdogSec"][0]) >= 30


def test_leases_on_other_users_files_are_allowed() -> None:
    """The quiet rule needs exactly one capability."""
    assert settings()["CapabilityBoundingSet"] == settings()["AmbientCapabilities"] == ["CAP_LEASE"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Let systemd make user and spool in an empty root folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of another user")
    root = tmp_path / "root"
    for name in ("etc", "var/spool"):
        (root / name).mkdir(parents=True)
    done = run("systemd-sysusers", f"--root={root}", SYSTEMD / "maildropd.sysusers")
    assert done.returncode == 0, done.stderr
    # ACLs are resolved with this machine's users, of which the daemon is none.
    rules = tmp_path / "maildropd.conf"
    text = (SYSTEMD / "maildropd.tmpfiles").read_text("utf-8")
    rules.write_text(text.replace(":user:maildropd:", f":user:{daemon(root)}:"))
    done = run("systemd-tmpfiles", f"--root={root}", "--create", rules)
    assert (done.returncode, done.stderr) == (0, "")
    for parent in [tmp_path, *tmp_path.parents]:  # other users must reach it: pytest's folders are private
        parent.chmod(parent.stat().st_mode | 0o011)
    return root


def daemon(root: Path) -> int:
    """Return the daemon's user id below ``root``."""
    return int((root / "etc" / "passwd").read_text().partition("maildropd:x:")[2].partition(":")[0])


def test_the_spool_has_its_folders(image: Path) -> None:
    """Owner and modes are those of the contract: sticky where producers write, closed where only the daemon works."""
    spool = image / "var/spool/maildropd"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in spool.iterdir()}
    settled = dict.fromkeys(("deferred", "held", "sent", "failed"), 0o755)
    assert modes == {"tmp": 0o1777, "incoming": 0o1777, "active": 0o700, **settled}
    assert {path.stat().st_uid for path in (spool, *spool.iterdir())} == {daemon(image)}


@pytest.mark.parametrize("folder", ["tmp", "incoming"])
def test_rights_are_those_that_init_gives(image: Path, folder: str) -> None:
    """Whichever makes the spool, the other finds nothing to mend."""
    made = os.getxattr(image / "var/spool/maildropd" / folder, "system.posix_acl_default")
    assert made == volume.default_acl(daemon(image))


@pytest.mark.parametrize("folder", ["tmp", "incoming"])
def test_the_daemon_may_move_what_others_make(image: Path, folder: str) -> None:
    """A job made under the strictest umask is still readable and movable for the daemon's user, and for nobody else."""
    spool = image / "var/spool/maildropd"
    script = 'cd "$1" && mkdir job && echo hello >job/body.txt'
    subprocess.run(["sh", "-c", script, "sh", spool / folder], user=54321, group=54321, umask=0o077, check=True)

    def as_user(number: int, *command: str | Path) -> int:
        return subprocess.run(
            command, user=number, group=number, extra_groups=[], capture_output=True, check=False
        ).returncode

    job = spool / folder / "job"
    assert as_user(54322, "cat", job / "body.txt") != 0
    assert as_user(daemon(image), "cat", job / "body.txt") == 0
    assert as_user(daemon(image), "mv", job, spool / "active" / "job") == 0
    assert as_user(54321, "cat", spool / "active" / "job" / "body.txt") != 0
