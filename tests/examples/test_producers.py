"""The example producers compile without a warning, drop whole jobs, and fail as they say."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PRODUCERS = Path(__file__).resolve().parents[2] / "examples" / "producers"
SCANNED = PRODUCERS.parent / "jobs" / "invoice-4711" / "attachments" / "invoice-4711.pdf"

# How to build each (None: runs as it is) and how to start it; {source}, {out} are filled in.
BUILD: dict[str, list[str] | None] = {
    "disk_report.sh": None,
    "invoice.py": None,
    "ups_alarm.c": ["gcc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o", "{out}/run", "{source}"],
    "dayend.cob": ["cobc", "-x", "-free", "-Wall", "-o", "{out}/run", "{source}"],
    "OrderConfirmation.java": ["javac", "-Xlint:all", "-Werror", "-encoding", "UTF-8", "-d", "{out}", "{source}"],
    "ScanToMail.cs": ["mcs", "-warnaserror", "-out:{out}/run.exe", "{source}"],
}
START = {
    "disk_report.sh": ["sh", "{source}"],
    "invoice.py": [sys.executable, "{source}"],
    "ups_alarm.c": ["{out}/run"],
    "dayend.cob": ["{out}/run"],
    "OrderConfirmation.java": ["java", "-cp", "{out}", "OrderConfirmation"],
    "ScanToMail.cs": ["mono", "{out}/run.exe"],
}
EXTRA = {"ScanToMail.cs": [str(SCANNED)]}  # arguments behind the spool
PACKAGES = {
    "gcc": "gcc libc6-dev",
    "cobc": "gnucobol4",
    "javac": "default-jdk-headless",
    "mcs": "mono-mcs",
}
FILES = {
    "disk_report.sh": {"body.txt"},
    "invoice.py": {"body.txt", "attachments/invoice-4711.csv"},
    "ups_alarm.c": {"body.txt"},
    "dayend.cob": {"body.txt", "READY"},
    "OrderConfirmation.java": {"body.txt", "body.html"},
    "ScanToMail.cs": {"body.txt", "attachments/invoice-4711.pdf"},
}
TEXT = {  # what the body says; dayend.cob writes the euro sign in code page 1252
    "disk_report.sh": "Filesystem",
    "invoice.py": "€ 573.00",
    "ups_alarm.c": "Mains power failed.",
    "dayend.cob": "€ 48,213.07",
    "OrderConfirmation.java": "is on its way",
    "ScanToMail.cs": "1 file(s) from the scanner.",
}
UNTESTED = {"README.md", "Send-SpaceReport.ps1"}  # Debian has no PowerShell

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def filled(words: list[str], **places: object) -> list[str]:
    """Fill in the places of a command."""
    return [word.format(**places) for word in words]


@pytest.fixture(scope="module", params=sorted(START))
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Run]:
    """Build one producer; return its file's name and a function that runs it on a spool."""
    name: str = request.param
    out, source = tmp_path_factory.mktemp("build"), PRODUCERS / name
    build = BUILD[name]
    if build is not None:
        if shutil.which(build[0]) is None:
            pytest.skip(f"{build[0]} is not installed: apt-get install {PACKAGES[build[0]]}")
        done = subprocess.run(filled(build, source=source, out=out), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def run(spool: Path) -> subprocess.CompletedProcess[str]:
        command = filled(START[name], source=source, out=out)
        return subprocess.run(
            [*command, str(spool), *EXTRA.get(name, [])],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            umask=0,
        )

    return name, run


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Make the two folders of a spool that producers see."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "incoming").mkdir()
    return tmp_path


def envelope_of(job: Path) -> dict[str, Any]:
    """Read the envelope as the daemon's parser does."""
    return tomllib.loads((job / "envelope.toml").read_text("utf-8"))


def test_each_producer_is_tried() -> None:
    """No producer is forgotten here."""
    assert {path.name for path in PRODUCERS.glob("[!._]*")} == START.keys() | UNTESTED


def test_it_drops_a_whole_job(program: tuple[str, Run], spool: Path) -> None:
    """One job, under the name that was printed, with its files, an envelope, and nothing left in tmp/."""
    name, run = program
    done = run(spool)
    assert (done.returncode, done.stderr) == (0, "")
    (job,) = (spool / "incoming").iterdir()
    assert done.stdout == f"{job.name}\n"
    assert list((spool / "tmp").iterdir()) == []
    found = {path.relative_to(job).as_posix() for path in job.rglob("*") if path.is_file()}
    assert found == FILES[name] | {"envelope.toml"}
    envelope = envelope_of(job)
    assert envelope["from"]
    assert envelope["to"]
    assert envelope["subject"]
    assert TEXT[name] in (job / "body.txt").read_text(envelope.get("charset", "utf-8"))


def test_the_daemon_may_read_and_move_it(program: tuple[str, Run], spool: Path) -> None:
    """Folders and files are made for the group too: that part of the mode is the mask of the spool's default ACL.

    A folder made for its owner only (``mkdtemp``) takes the daemon's rights away, and the job could not be claimed.
    """
    _, run = program
    run(spool)
    (job,) = (spool / "incoming").iterdir()
    for path in (job, *job.rglob("*")):
        wanted = 0o070 if path.is_dir() else 0o040
        assert stat.S_IMODE(path.stat().st_mode) & wanted == wanted, path


def test_two_in_a_row_are_two_jobs(program: tuple[str, Run], spool: Path) -> None:
    """Names don't collide when a program runs again at once."""
    _, run = program
    first, second = run(spool), run(spool)
    assert first.stdout != second.stdout
    assert len(list((spool / "incoming").iterdir())) == 2


def test_no_spool_is_an_error(program: tuple[str, Run], tmp_path: Path) -> None:
    """Without a spool it says so, leaves with 73, prints no name and makes no folder."""
    _, run = program
    done = run(tmp_path / "nowhere")
    assert done.returncode == 73
    assert str(tmp_path / "nowhere") in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_failed_drop_leaves_nothing(program: tuple[str, Run], spool: Path) -> None:
    """If incoming/ can't take the job, it leaves with 73 and tidies tmp/."""
    _, run = program
    (spool / "incoming").rmdir()
    done = run(spool)
    assert done.returncode == 73
    assert done.stdout == ""
    assert list((spool / "tmp").iterdir()) == []
