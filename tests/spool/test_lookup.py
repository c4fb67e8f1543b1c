"""What a person means by ``JOB``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maildrop.errors import UsageError
from maildrop.spool.layout import Spool, State
from maildrop.spool.lookup import Place, find


@pytest.fixture
def jobs(spool_path: Path) -> Path:
    """Put a few jobs into the spool."""
    for name in ("sent/a", "failed/both", "deferred/both", "sent/2026-11-23/daily", "failed/caf\udce9", "held/a b"):
        (spool_path / name).mkdir(parents=True)
    (spool_path / "incoming/x.eml").touch()
    return spool_path


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a", "sent/a"),
        ("sent/a", "sent/a"),
        ("sent/a/", "sent/a"),
        ("a b", "held/a b"),
        ("x.eml", "incoming/x.eml"),
        ("failed/both", "failed/both"),
        ("daily", "sent/2026-11-23/daily"),
        ("sent/daily", "sent/2026-11-23/daily"),
        ("2026-11-23/daily", "sent/2026-11-23/daily"),
        ("sent/2026-11-23/daily", "sent/2026-11-23/daily"),
        ("caf\udce9", "failed/caf\udce9"),
        ("caf\\xe9", "failed/caf\udce9"),
        ("failed/caf\\xe9", "failed/caf\udce9"),
    ],
)
@pytest.mark.usefixtures("jobs")
def test_found(spool: Spool, text: str, place: str) -> None:
    """A name, a state and a name, in a day's folder, or a name as it is shown."""
    state, _, name = place.partition("/")
    assert find(spool, text) == Place(state=State(state), name=name)


def test_found_by_path(spool: Spool, jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, absolute or relative, through a link to the spool or not."""
    (jobs.parent / "link").symlink_to(jobs)
    monkeypatch.chdir(jobs / "sent")
    for text in (f"{jobs}/sent/a", f"{jobs}/sent/a/", "./a", "../sent/a", f"{jobs.parent}/link/sent/a"):
        assert find(spool, text) == Place(state=State.SENT, name="a")


@pytest.mark.usefixtures("jobs")
def test_ambiguous(spool: Spool) -> None:
    """A name in two states is not guessed; the choice is shown."""
    with pytest.raises(UsageError, match="deferred/both, failed/both"):
        find(spool, "both")


@pytest.mark.parametrize(
    "text", ["dailx", "", ".", "..", "/", "sent", "sent/", "sent/..", "sent/../failed/both", "/etc/passwd", "other/a",
             "2026-11-23", "a\0", "n" * 300, ".owner", "active/.owner"],
)  # fmt: skip
@pytest.mark.usefixtures("jobs")
def test_not_found(spool: Spool, text: str) -> None:
    """What is no job is an unknown name, however it is spelled; a near one is proposed."""
    spool.lock()
    with pytest.raises(UsageError, match="no such job") as caught:
        find(spool, text)
    if text == "dailx":
        assert "did you mean 'daily'?" in str(caught.value)


def test_places_are_shown_printable() -> None:
    """A name's odd octets don't reach the terminal."""
    assert str(Place(state=State.SENT, name="a\x1b\udce9")) == "sent/a\\x1b\\xe9"
    assert os.fsencode("\udce9") == b"\xe9"
