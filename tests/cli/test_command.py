"""The command as a whole: where it finds things, how it fails, what scripts can rely on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maildrop import __version__
from maildrop.cli import _COMMANDS
from maildrop.spool.layout import State

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_lists_every_command(word: str, maildropd: Any) -> None:
    """The help names each command with what it does."""
    done = maildropd(word)
    assert done.code == 0
    for name, (_, what) in _COMMANDS.items():
        assert f"  {name}" in done.out
        assert what.split()[0] in done.out


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_each_command_has_help_and_an_example(name: str, maildropd: Any) -> None:
    """A command's own help has its usage, and an example or a reason to have none."""
    done = maildropd(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: maildropd {name}" in done.out
    assert f"Example: maildropd {name}" in done.out or "| maildropd submit" in done.out


def test_version(maildropd: Any) -> None:
    """``--version`` says name and version."""
    assert maildropd("--version").out == f"maildropd, version {__version__}\n"


@pytest.mark.parametrize(("word", "hint"), [("stauts", "did you mean 'status'?"), ("qqqq", "see 'maildropd --help'")])
def test_an_unknown_command_is_a_usage_error(word: str, hint: str, maildropd: Any) -> None:
    """64, with the nearest command or the way to the list."""
    done = maildropd(word)
    assert (done.code, done.out) == (64, "")
    assert f"there is no command '{word}'; {hint}" in done.err


@pytest.mark.parametrize(
    "words",
    [("status", "--jsno"), ("show",), ("list", "nowhere"), ("schema", "mail"), ("lint",), ("retry",),
     ("retry", "--all", "job"), ("list", "--limit", "0"), ("submit", "--wait", "soon")],
)  # fmt: skip
def test_wrong_words_are_usage_errors(words: tuple[str, ...], site: Any, maildropd: Any) -> None:
    """64 for options and arguments that do not exist or do not fit, told on standard error."""
    assert site.config.exists()
    done = maildropd(*words)
    assert (done.code, done.out) == (64, "")
    assert done.err


def test_config_before_and_after_the_command(site: Any, maildropd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--config`` works in both places; the one after the command wins."""
    monkeypatch.delenv("MAILDROPD_CONFIG")
    assert maildropd("--config", site.config, "status", "--json").code == 0
    assert maildropd("status", "--config", site.config, "--json").code == 0
    assert maildropd("--config", "/nowhere", "status", "--config", site.config, "--json").code == 0
    assert maildropd("--config", site.config, "status", "--config", "/nowhere").code == 78


def test_a_missing_configuration_is_78_with_a_way_out(maildropd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next thing to try is named."""
    monkeypatch.setenv("MAILDROPD_CONFIG", "/nowhere/maildropd.toml")
    for words in (["status"], ["list"], ["show", "x"], ["run"], ["submit"], ["config"]):
        done = maildropd(*words)
        assert (done.code, done.out) == (78, "")
        assert "run 'maildropd init' to make one, or name it with --config FILE" in done.err


def test_every_problem_of_a_configuration_is_a_line(site: Any, maildropd: Any) -> None:
    """All problems at once, each with file and key, one a line."""
    site.configure('conections = 1\nidle = "soon"')
    done = maildropd("run")
    assert done.code == 78
    lines = done.err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"maildropd: {site.config}: relays.main.") for line in lines)


def test_a_spool_that_is_not_there_is_78(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """A configuration that names no spool is wrong."""
    site.spool.rename(tmp_path / "elsewhere")
    done = maildropd("status")
    assert done.code == 78
    assert "maildropd init" in done.err


@pytest.mark.parametrize("words", [("show", "invocie-1"), ("retry", "invocie-1")])
def test_an_unknown_job_is_64_with_the_nearest_name(words: tuple[str, ...], site: Any, maildropd: Any) -> None:
    """A job that does not exist is a usage error, and the nearest one is offered."""
    site.job(State.FAILED, "invoice-1")
    done = maildropd(*words)
    assert (done.code, done.out) == (64, "")
    assert "did you mean 'invoice-1'?" in done.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/spool"), 77, "/spool: Permission denied; run it as root"),
        (PermissionError("no"), 77, "system: "),
        (OSError(errno.EIO, "Input/output error", "/spool\n"), 75, "/spool\\x0a: Input/output error; see 'dmesg'"),
        (OSError("odd"), 75, "system: odd; see"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_trouble_of_the_system_has_its_code(
    error: BaseException, site: Any, maildropd: Any, monkeypatch: pytest.MonkeyPatch, *, code: int, words: str
) -> None:
    """77 without permission, 75 for disk trouble, and never a traceback."""

    def fail(*_args: Any, **_options: Any) -> None:
        raise error

    assert site.config.exists()
    monkeypatch.setattr("maildrop.status.view.picture", fail)
    done = maildropd("status")
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err


def test_run_as_a_module_is_the_command() -> None:
    """``python -m maildrop`` is ``maildropd``."""
    done = subprocess.run(
        [sys.executable, "-m", "maildrop", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"maildropd, version {__version__}\n", "")


@pytest.mark.parametrize("words", ["--help", "schema config", "schema envelope"])
def test_a_reader_that_goes_away_is_no_error(words: str) -> None:
    """In a pipe to ``head`` the command ends in silence."""
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m maildrop {words} | :; true', sys.executable],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_start_up_imports_only_what_is_needed() -> None:
    """Scripts call us often: the help needs neither validation, nor tables, nor the log."""
    program = "import sys, maildrop.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"pydantic", "rich", "structlog", "asyncio", "watchdog"} & set(done.stdout.split())


def test_no_other_users_environment_is_needed(site: Any, maildropd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare environment, as cron gives it, is enough."""
    for name in list(os.environ):
        if name not in {"MAILDROPD_CONFIG", "PATH"} and not name.startswith(("PYTEST", "COV")):
            monkeypatch.delenv(name)
    assert site.config.exists()
    assert maildropd("list").code == 0
