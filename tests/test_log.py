"""The log: a closed vocabulary, one event one line, and never an exception for its caller."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maildrop import log
from maildrop.log import EVENTS, LogFormat, LogLevel

PACKAGE = Path(log.__file__).parent
FUNCTIONS = {name.replace(".", "_", 1) for name in EVENTS}
FORMATS = (LogFormat.CONSOLE, LogFormat.JSON, LogFormat.JOURNAL)

NASTY = {
    "CR": "a\rb",
    "LF": "a\nb",
    "CRLF and a forged event": 'a\r\n<3>job.failed job="x"',
    "ESC": "a\x1b[2J\x1b]0;title\x07b",
    "NEL": "a\x85b",
    "U+2028": "a\u2028b",
    "U+2029": "a\u2029b",
    "bidi": "a\u202eb\u2066c",
    "surrogates": "a\udcff\ud800b",
    "NUL": "a\0b",
    "quotes": "a\"b'c\\",
    "long": "x" * 100_000,
}


@pytest.fixture(autouse=True)
def _silent_again() -> Iterator[None]:
    """Leave no configured log behind for other tests."""
    yield
    log._logger = None


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Callable[[LogFormat, Callable[[], None]], str]:
    """Return a function that runs another one and returns what it logged in a format."""

    def run(form: LogFormat, emit: Callable[[], None], *, level: LogLevel = LogLevel.DEBUG) -> str:
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        monkeypatch.setattr(sys, "stderr", stream)
        log.set_up(form=form, level=level)
        emit()
        octets = stream.buffer
        assert isinstance(octets, io.BytesIO)
        return octets.getvalue().decode("utf-8")

    return run


def calls(path: Path) -> set[str]:
    """Return the names of ``log.NAME(…)`` calls in a module."""
    return {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
    }


def test_the_vocabulary_is_closed() -> None:
    """Every event that the code tells exists, and no event exists that nobody tells."""
    used = set().union(*(calls(path) for path in PACKAGE.rglob("*.py"))) - {"set_up"}
    assert used == FUNCTIONS


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_each_event_has_its_function_and_meaning(name: str) -> None:
    """An event is called ``noun.verb``, its function ``noun_verb``, and its docstring says what it means."""
    assert re.fullmatch(r"[a-z]+\.[a-z]+", name)
    function = getattr(log, name.replace(".", "_"))
    assert callable(function)
    assert EVENTS[name].meaning == " ".join(function.__doc__.split())
    assert EVENTS[name].meaning.endswith(".")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_one_event_is_one_line(
    text: str, form: LogFormat, written: Callable[[LogFormat, Callable[[], None]], str]
) -> None:
    """Whatever a producer or a server wrote, an event is one line without control characters."""

    def emit() -> None:
        log.job_failed(job=text, outcome=text, reason=text, attempts=1, meta={text: [text, {"deep": text}]})

    line = written(form, emit)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]", line)
    assert len(line) < 12_000


def test_json_lines_can_be_read_back(written: Callable[[LogFormat, Callable[[], None]], str]) -> None:
    """A JSON line holds event, level, time in UTC and the fields, numbers as numbers."""

    def emit() -> None:
        log.job_sent(
            job="a", relay="main", message_id="<1@x>", size=10, recipients=2, attempts=1, seconds=0.12345,
            reply="250 ok", possible_duplicate=None, meta={"k": (1, 2.00049, True, None)},
        )  # fmt: skip

    event = json.loads(written(LogFormat.JSON, emit))
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "job.sent", "level": "info", "job": "a", "relay": "main", "message_id": "<1@x>", "size": 10,
        "recipients": 2, "attempts": 1, "seconds": 0.123, "reply": "250 ok", "meta": {"k": [1, 2.0, True, None]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("emit", "prefix"),
    [
        (lambda: log.job_claimed(job="a"), "<7>job.claimed job=a"),
        (lambda: log.config_reloaded(config="c"), "<6>config.reloaded config=c"),
        (log.daemon_resumed, "<4>daemon.resumed"),
        (lambda: log.job_error(job="a", error="e"), "<3>job.error job=a error=e"),
    ],
)
def test_journal_lines_begin_with_the_priority(
    emit: Callable[[], None], prefix: str, written: Callable[[LogFormat, Callable[[], None]], str]
) -> None:
    """Under systemd a line begins with the priority that journald reads, then event and job."""
    assert written(LogFormat.JOURNAL, emit).strip() == prefix


def test_less_important_events_are_not_written(written: Callable[..., str]) -> None:
    """Below the level nothing is written."""

    def emit() -> None:
        log.job_claimed(job="debug")
        log.config_reloaded(config="info")
        log.daemon_resumed()
        log.job_error(job="error", error="e")

    lines = written(LogFormat.JOURNAL, emit, level=LogLevel.WARNING).splitlines()
    assert [line[:3] for line in lines] == ["<4>", "<3>"]


def test_before_the_set_up_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    """A library user who sets no log up gets none."""
    log.job_error(job="a", error="e")
    assert capfd.readouterr() == ("", "")


def test_an_event_with_a_foreign_object_is_still_written(written: Callable[..., str]) -> None:
    """An object nobody thought of is shown by its text."""

    def emit() -> None:
        log.job_error(job="a", error=ValueError("x\ny"))  # type: ignore[arg-type]

    assert json.loads(written(LogFormat.JSON, emit))["error"] == "x\\x0ay"


class Broken(io.StringIO):
    """A stream on which nothing can be written."""

    def write(self, _text: str) -> int:
        """Fail like a full device."""
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_device_behind_the_log_is_no_error(form: LogFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble while writing an event is swallowed: the caller's work goes on."""
    monkeypatch.setattr(sys, "stderr", Broken())
    log.set_up(form=form)
    log.job_error(job="a", error="e")


@pytest.mark.parametrize("form", [LogFormat.AUTO, *FORMATS])
@pytest.mark.parametrize("closed_before", [True, False])
def test_a_closed_stderr_is_no_error(form: LogFormat, monkeypatch: pytest.MonkeyPatch, *, closed_before: bool) -> None:
    """A closed standard error, now or later, is swallowed."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    if closed_before:
        stream.close()
    log.set_up(form=form)
    stream.close()
    log.job_error(job="a", error="e")


def test_no_stderr_at_all_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A process that was started without standard error logs to nowhere, never to standard output."""
    monkeypatch.setattr(sys, "stderr", None)
    log.set_up()
    log.job_error(job="a", error="e")
    monkeypatch.undo()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_process_with_a_broken_stderr_keeps_its_exit_code(redirection: str) -> None:
    """A full or missing standard error does not change what the process says by its exit code."""
    program = "from maildrop import log; log.set_up(); log.job_error(job='a', error='e'); raise SystemExit(3)"
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, program],
        cwd=PACKAGE.parent, stdout=subprocess.PIPE, check=False, timeout=20,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, b"")


@pytest.mark.parametrize(
    ("stream_is_named", "tty", "first"),
    [(True, False, "<"), (False, False, "{"), (False, True, None)],
    ids=["under journald", "in a pipe", "on a terminal"],
)
def test_auto_finds_out(
    first: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stream_is_named: bool, tty: bool
) -> None:
    """The automatic format is for a terminal's reader, for journald, or JSON."""
    path = tmp_path / "stderr"
    with path.open("w", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + (not stream_is_named)}")
        monkeypatch.setattr(sys, "stderr", _Terminal(stream) if tty else stream)
        log.set_up()
        log.job_error(job="a", error="e")
    text = path.read_text("utf-8")
    assert "job.error" in text
    assert first is None or text.startswith(first)
    assert ("\x1b[" in text) == tty


class _Terminal:
    """A stream that says it is a terminal."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        """Say so."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
