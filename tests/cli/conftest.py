"""``maildropd`` called in this process as a shell would: words in, exit code and both outputs out."""

from __future__ import annotations

import getpass
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maildrop import log
from maildrop.cli import main
from maildrop.spool.layout import State, init
from maildrop.spool.record import AttemptResult, Outcome, RecipientResult, Result, Status, dump

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str
    octets: bytes


Command = Callable[..., Done]


@pytest.fixture
def maildropd(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs the command."""

    def run(*words: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["maildropd", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        sys.stdout.flush()
        log._logger = None
        out, err = capfdbinary.readouterr()
        assert isinstance(end.value.code, int)
        return Done(code=end.value.code, out=out.decode("utf-8", "replace"), err=err.decode(), octets=out)

    return run


class Site:
    """A spool with its configuration."""

    def __init__(self, folder: Path) -> None:
        """Make both."""
        self.spool = folder / "spool"
        self.config = folder / "maildropd.toml"
        init(str(self.spool), user=getpass.getuser())
        self.configure()

    def configure(self, more: str = "") -> None:
        """Write the configuration; ``more`` are lines of the relay's table, or further tables."""
        text = f'[spool]\npath = "{self.spool}"\nvolatile = true\nmin_free = 0\n'
        text += f'[relays.main]\nhost = "localhost"\nport = 9\ntls = "none"\n{more}\n'
        self.config.write_text(text, "utf-8")

    def job(self, state: State, name: str, result: Result | None = None, **files: bytes) -> Path:
        """Put a job into a state."""
        path = self.spool / state / name
        path.mkdir(parents=True)
        (path / "envelope.toml").write_bytes(b'from = "me@example.com"\nto = "a@example.org"\nsubject = "hi"\n')
        for file, content in files.items():
            (path / file.replace("__", ".")).write_bytes(content)
        if result is not None:
            (path / "result.toml").write_bytes(dump(result))
        return path

    def result(self, name: str, outcome: Outcome, **more: Any) -> Result:
        """Make a record with two recipients and an attempt."""
        status = {Outcome.SENT: Status.DELIVERED, Outcome.DEFERRED: Status.DEFERRED}.get(outcome, Status.REJECTED)
        values: dict[str, Any] = {
            "job": name, "outcome": outcome, "reason": f"because of {outcome}", "claimed": NOW,
            "message_id": "<1@example.com>", "size": 123,
            "recipients": (
                RecipientResult(address="a@example.org", status=Status.DELIVERED, relay="main", stage="data-end",
                                code=250, text="ok", queue_id="Q1"),
                RecipientResult(address="b@example.org", status=status, relay="main", stage="rcpt", code=450,
                                enhanced="4.2.0", text="busy"),
            ),
            "attempts": (AttemptResult(number=1, started=NOW, seconds=0.5, relay="main", result="delivered 1"),),
            **more,
        }  # fmt: skip
        return Result(**values)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Make a site, and let the command find its configuration."""
    made = Site(tmp_path)
    monkeypatch.setenv("MAILDROPD_CONFIG", str(made.config))
    monkeypatch.chdir(tmp_path)
    return made
