"""One picture of spool and relays: plain data, whatever lies in the folders."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from maildrop.delivery.health import Detour
from maildrop.delivery.relay import Relay
from maildrop.delivery.relay_settings import RelaySettings
from maildrop.smtp import Security, SessionFailed, Stage
from maildrop.smtp.steps import Fault
from maildrop.spool.job import Job
from maildrop.spool.layout import Spool, State, init
from maildrop.spool.lookup import Place
from maildrop.status import view

NOW = datetime(2026, 11, 23, 8, 0, 0, 123456, UTC)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """Make and open a spool."""
    init(str(tmp_path / "spool"), user=getpass.getuser())
    with Spool.open(str(tmp_path / "spool"), volatile=True) as opened:
        yield opened


def relay(name: str) -> Relay:
    """Make a relay."""
    return Relay(RelaySettings(name=name, host="h", port=25, security=Security.NONE, hostname="me"))


_NOTHING: dict[str, object] = {
    **dict.fromkeys(("why", "since", "until", "instead", "certificate_expires", "notice")),
    "sessions": 0,
}


def test_a_degraded_relay_tells_where_its_jobs_go() -> None:
    """It is held, and its jobs go to another meanwhile."""
    held = relay("a")
    held.detour = Detour(instead="b", since=1000.0)
    (healthy,) = view.relays_now([held], loop_now=1000.0, now=NOW)
    assert (healthy["state"], healthy["instead"]) == ("healthy", None)
    held.hold(SessionFailed("a", Fault(stage=Stage.CONNECT, what="refused")), now=1000.0)
    (degraded,) = view.relays_now([held], loop_now=1000.0, now=NOW)
    assert (degraded["state"], degraded["instead"], degraded["why"]) == ("degraded", "b", "connect: refused")


@pytest.mark.parametrize(
    ("days", "notice"),
    [
        (31, None),
        (12, "the server's certificate ends in 12 days (2026-12-05)"),
        (-1, "the server's certificate has ended (2026-11-22)"),
    ],
)
def test_a_certificate_that_ends_soon_is_a_notice(days: int, notice: str | None) -> None:
    """A month before its end there is something to do; the end itself is always told."""
    made = relay("a")
    made.certificate_expires = NOW + timedelta(days=days)
    (told,) = view.relays_now([made], loop_now=0.0, now=NOW)
    assert told["notice"] == notice
    assert told["certificate_expires"] == view.stamp(made.certificate_expires)


def test_relays_now() -> None:
    """A healthy relay has no why and no until; a held one has both, on the wall clock."""
    healthy, held = relay("a"), relay("b")
    healthy._connecting = 2
    held.hold(SessionFailed("b", Fault(stage=Stage.CONNECT, what="refused")), now=1000.0)
    assert view.relays_now([healthy, held], loop_now=1000.5, now=NOW) == [
        {**_NOTHING, "name": "a", "state": "healthy", "sessions": 2},
        {
            **_NOTHING, "name": "b", "state": "held", "why": "connect: refused", "since": "2026-11-23T07:59:59.623Z",
            "until": "2026-11-23T08:00:00.623Z",
        },
    ]  # fmt: skip
    (late,) = view.relays_now([held], loop_now=2000.0, now=NOW)
    assert late["until"] == "2026-11-23T08:00:00.123Z"


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (None, None),
        (NOW, "2026-11-23T08:00:00.123Z"),
        (NOW.astimezone(timezone(timedelta(hours=2))), "2026-11-23T08:00:00.123Z"),
    ],
)
def test_stamps(when: datetime | None, text: str | None) -> None:
    """Times are ISO 8601 in UTC with milliseconds, absent ones None."""
    assert view.stamp(when) == text


def test_a_job_that_goes_away_while_it_is_listed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing and moving at the same time is normal: a name without a job is no error."""
    monkeypatch.setattr(Spool, "names", lambda _spool, _state: iter(["gone"]))
    (row,) = view.rows(spool, [State.DEFERRED], limit=None)
    assert (row["job"], row["outcome"]) == ("gone", None)
    assert view.picture(spool)["oldest"] is None


def test_a_job_that_may_not_be_read(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's job is listed with the reason why no more is known."""
    (Path(spool.path) / "failed" / "secret").mkdir()

    def refuse(*_arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Job, "open", refuse)
    (row,) = view.rows(spool, [State.FAILED], limit=None)
    assert row["reason"] == "job: you may not read it; ask its producer, or root"


def test_show_of_a_job_that_is_gone(spool: Spool) -> None:
    """``whole`` of nothing is FileNotFoundError, for the caller to word."""
    with pytest.raises(FileNotFoundError):
        view.whole(spool, Place(state=State.FAILED, name="gone"))


def test_everything_is_json(spool: Spool) -> None:
    """Names of any octets come out as text that JSON can hold."""
    os.mkdir(os.fsencode(spool.path) + b"/failed/\xff\x1b")
    rows = list(view.rows(spool, State, limit=None))
    assert json.loads(json.dumps(rows))[0]["job"] == "\\xff\\x1b"
