"""``status``, ``list``, ``show``, ``retry``: for people and, as JSON, for programs."""

from __future__ import annotations

import json
import os
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from maildrop.errors import Problem
from maildrop.spool import bulletin
from maildrop.spool.byhand import due_again
from maildrop.spool.layout import Spool, State
from maildrop.spool.record import Outcome, Status
from maildrop.spool.record import load as load_record

NEXT = datetime.fromisoformat("2026-11-23T09:00:00+00:00")


def as_json(done: Any) -> Any:
    """Parse what a command printed, strictly."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert done.err == ""
    assert done.octets.isascii()
    return json.loads(done.out, parse_constant=refuse)


def test_status_of_an_idle_spool(site: Any, maildropd: Any) -> None:
    """Counts per state, no relays, no oldest job, no daemon; absent values are null."""
    assert site.spool.exists()
    assert as_json(maildropd("status", "--json")) == {
        "counts": {"incoming": 0, "active": 0, "deferred": 0, "held": 0, "sent": 0, "failed": 0},
        "relays": [], "oldest": None, "incomplete": None, "paused": None,
        "daemon": {"running": False, "pid": None, "since": None},
    }  # fmt: skip


def test_status_counts_and_names_the_oldest(site: Any, maildropd: Any) -> None:
    """The oldest unsent job is the one that has waited longest in incoming, active or deferred."""
    os.utime(site.job(State.INCOMING, "young"), (2e9, 2e9))
    os.utime(site.job(State.DEFERRED, "old"), (1e9, 1e9))
    os.utime(site.job(State.SENT, "done"), (1, 1))
    picture = as_json(maildropd("status", "--json"))
    assert picture["counts"] == {"incoming": 1, "active": 0, "deferred": 1, "held": 0, "sent": 1, "failed": 0}
    assert picture["oldest"] == {"job": "old", "state": "deferred", "since": "2001-09-09T01:46:40.000Z"}
    told = maildropd("status").out
    assert "incoming 1   active 0   deferred 1" in told
    assert "oldest unsent: deferred/old since 2001-09-09T01:46:40.000Z" in told
    assert "daemon: not running" in told


NEWS = {
    "since": "2026-11-23T08:00:00.000Z", "paused": "disk full", "incomplete": 2,
    "relays": [{"name": "main", "state": "held", "why": "connect: refused [bold]", "until": None, "sessions": 0}],
}  # fmt: skip


def test_status_of_a_running_daemon(site: Any, maildropd: Any) -> None:
    """What the daemon posted is shown: relays with why and until, a pause, incomplete drops."""
    with Spool.open(str(site.spool), volatile=True) as spool:
        spool.lock()
        bulletin.post(spool, NEWS)
        picture = as_json(maildropd("status", "--json"))
        told = maildropd("status").out
    assert picture["daemon"] == {"running": True, "pid": os.getpid(), "since": "2026-11-23T08:00:00.000Z"}
    assert (picture["paused"], picture["incomplete"], picture["relays"]) == ("disk full", 2, NEWS["relays"])
    assert f"daemon: running, pid {os.getpid()}" in told
    assert "paused: disk full" in told
    assert "incomplete drops: 2" in told
    assert "connect: refused [bold]" in told


def test_a_dead_daemons_news_are_not_believed(site: Any, maildropd: Any) -> None:
    """What a daemon posted before it ended says nothing about now."""
    with Spool.open(str(site.spool), volatile=True) as spool:
        bulletin.post(spool, NEWS)
    assert as_json(maildropd("status", "--json"))["relays"] == []


def test_list_has_the_promised_keys(site: Any, maildropd: Any) -> None:
    """An array of objects: job, state, outcome, reason, claimed, next_attempt, attempts, size, recipients."""
    site.job(State.DEFERRED, "later", site.result("later", Outcome.DEFERRED, next_attempt=NEXT))
    assert as_json(maildropd("list", "--json")) == [
        {
            "job": "later", "state": "deferred", "outcome": "deferred", "reason": "because of deferred",
            "claimed": "2026-11-23T08:00:00.000Z", "next_attempt": "2026-11-23T09:00:00.000Z", "attempts": 1,
            "size": 123, "recipients": ["a@example.org", "b@example.org"],
        }
    ]  # fmt: skip


def test_list_without_a_result_has_nulls(site: Any, maildropd: Any) -> None:
    """A drop that was not claimed yet has the same keys, and a reason."""
    site.job(State.INCOMING, "new", result__toml=b"planted")
    site.job(State.ACTIVE, "claimed")
    active, incoming = sorted(as_json(maildropd("list", "--json")), key=lambda row: row["state"])
    assert incoming == {
        "job": "new", "state": "incoming", "outcome": None, "reason": "not claimed yet", "claimed": None,
        "next_attempt": None, "attempts": 0, "size": None, "recipients": [],
    }  # fmt: skip
    assert active["reason"] == "claimed, nothing recorded yet"


def test_list_leaves_out_what_is_sent(site: Any, maildropd: Any) -> None:
    """Without a state all that is not sent; with states exactly those, by name, at most ``--limit``."""
    for name in ("b", "a"):
        site.job(State.SENT, name, site.result(name, Outcome.SENT))
        site.job(State.FAILED, f"{name}-failed", site.result(name, Outcome.PARTIAL))
    jobs = [row["job"] for row in as_json(maildropd("list", "--json"))]
    assert jobs == ["a-failed", "b-failed"]
    assert [row["job"] for row in as_json(maildropd("list", "sent", "failed", "--json"))] == ["a", "b", *jobs]
    assert len(as_json(maildropd("list", "sent", "failed", "--json", "--limit", 3))) == 3
    assert as_json(maildropd("list", "held", "--json")) == []


def test_list_for_people(site: Any, maildropd: Any) -> None:
    """A table with where, when, how often, why; nothing to list is said on standard error."""
    site.job(State.FAILED, "[red]odd", site.result("odd", Outcome.PARTIAL, reason="refused [bold]x[/]"))
    done = maildropd("list")
    assert "[red]odd" in done.out
    assert "failed (partial)" in done.out
    assert "refused [bold]x[/]" in done.out
    nothing = maildropd("list", "sent")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "no jobs\n")


def test_names_are_made_harmless(site: Any, maildropd: Any) -> None:
    """A name with escape sequences or octets that are not UTF-8 is shown by its numbers, and found by them."""
    name = os.fsdecode(b"evil\x1b[2J\xff")
    site.job(State.FAILED, name, site.result("x", Outcome.FAILED))
    assert as_json(maildropd("list", "--json"))[0]["job"] == "evil\\x1b[2J\\xff"
    for words in (("list",), ("show", "evil\\x1b[2J\\xff"), ("retry", "evil\\x1b[2J\\xff", "--dry-run")):
        done = maildropd(*words)
        assert done.code == 0
        assert "\x1b" not in done.out + done.err
        assert "evil\\x1b[2J\\xff" in done.out


def test_a_torn_record_is_told(site: Any, maildropd: Any) -> None:
    """A record that can't be read is a reason of its own, and stops no list."""
    site.job(State.FAILED, "torn", result__toml=b'job = "torn"\n')
    site.job(State.FAILED, "whole", site.result("whole", Outcome.FAILED))
    torn, whole = as_json(maildropd("list", "--json"))
    assert torn["reason"] == "result.toml: is torn: its last line is missing"
    assert whole["outcome"] == "failed"


def test_show_has_every_field_of_the_result(site: Any, maildropd: Any) -> None:
    """One object with the fields of result.toml, state, path and files."""
    meta = {
        "ticket": 7,
        "when": NEXT,
        "day": date(2026, 11, 23),
        "local": datetime.fromisoformat("2026-11-23T08:00:00"),
        "odd": [1.5, True],
    }
    problem = Problem(where="envelope.toml: to", what="is missing")
    result = site.result("job", Outcome.PARTIAL, digest="sha256:0", finished=NEXT, meta=meta, problems=(problem,))
    path = site.job(State.FAILED, "job", result, body__txt=b"x")
    shown = as_json(maildropd("show", "job", "--json"))
    assert shown == {
        "job": "job", "state": "failed", "path": str(path), "files": ["body.txt", "envelope.toml"],
        "outcome": "partial", "reason": "because of partial", "message_id": "<1@example.com>", "size": 123,
        "digest": "sha256:0", "claimed": "2026-11-23T08:00:00.000Z", "finished": "2026-11-23T09:00:00.000Z",
        "possible_duplicate": False, "in_doubt": None, "next_attempt": None,
        "recipients": [
            {"address": "a@example.org", "status": "delivered", "relay": "main", "stage": "data-end", "code": 250,
             "enhanced": None, "text": "ok", "queue_id": "Q1"},
            {"address": "b@example.org", "status": "rejected", "relay": "main", "stage": "rcpt", "code": 450,
             "enhanced": "4.2.0", "text": "busy", "queue_id": None},
        ],
        "attempts": [{"number": 1, "started": "2026-11-23T08:00:00.000Z", "seconds": 0.5, "relay": "main",
                      "peer": None, "tls": None, "result": "delivered 1"}],
        "problems": [{"where": "envelope.toml: to", "what": "is missing", "hint": ""}],
        "meta": {"ticket": 7, "when": "2026-11-23T09:00:00.000Z", "day": "2026-11-23",
                 "local": "2026-11-23 08:00:00", "odd": [1.5, True]},
    }  # fmt: skip


def test_show_without_a_result_has_the_same_keys(site: Any, maildropd: Any) -> None:
    """A job that has no result yet is shown with nulls and empty lists, never with another shape."""
    site.job(State.SENT, "done", site.result("done", Outcome.SENT))
    site.job(State.INCOMING, "new")
    done, new = (as_json(maildropd("show", job, "--json")) for job in ("done", "new"))
    assert set(new) == set(done)
    assert (new["reason"], new["outcome"], new["claimed"]) == ("not claimed yet", None, None)
    assert (new["recipients"], new["attempts"], new["problems"], new["meta"]) == ([], [], [], {})
    assert new["files"] == ["envelope.toml"]


def test_show_a_bare_file(site: Any, maildropd: Any) -> None:
    """A file that lies in incoming is a job too."""
    (site.spool / "incoming" / "letter.eml").write_bytes(b"x")
    shown = as_json(maildropd("show", "letter.eml", "--json"))
    assert (shown["state"], shown["files"]) == ("incoming", ["letter.eml"])


def test_numbers_that_json_lacks(site: Any, maildropd: Any) -> None:
    """TOML's nan and inf come out as text, so that the JSON stays JSON."""
    site.job(State.SENT, "job", site.result("job", Outcome.SENT, meta={"a": float("nan"), "b": float("inf")}))
    assert as_json(maildropd("show", "job", "--json"))["meta"] == {"a": "nan", "b": "inf"}


def test_show_for_people(site: Any, maildropd: Any) -> None:
    """Each fact on its line, recipients, attempts and problems as tables."""
    problem = Problem(where="envelope.toml: [to]", what="is missing", hint="write to = …")
    result = site.result("job", Outcome.PARTIAL, possible_duplicate=True, problems=(problem,))
    site.job(State.FAILED, "job", result)
    told = maildropd("show", "failed/job").out
    for words in ("outcome: partial", "reason: because of partial", "delivered twice", "b@example.org", "busy",
                  "envelope.toml: [to]", "write to = …", "delivered 1"):  # fmt: skip
        assert words in told
    assert "next_attempt" not in told


def test_the_same_name_twice_needs_the_state(site: Any, maildropd: Any) -> None:
    """An ambiguous name is a usage error that offers the choice; STATE/NAME and a path are exact."""
    site.job(State.FAILED, "job", site.result("job", Outcome.FAILED))
    path = site.job(State.SENT, "job", site.result("job", Outcome.SENT))
    done = maildropd("show", "job")
    assert done.code == 64
    assert "choose one: failed/job, sent/job" in done.err
    assert as_json(maildropd("show", "sent/job", "--json"))["state"] == "sent"
    assert as_json(maildropd("show", path, "--json"))["state"] == "sent"


# retry


def test_retry_makes_a_job_due_now(site: Any, maildropd: Any) -> None:
    """A failed job lies in active, delivered recipients kept, all others open."""
    site.job(State.FAILED, "job", site.result("job", Outcome.PARTIAL))
    done = maildropd("retry", "job")
    assert (done.code, done.out, done.err) == (0, "job: will be sent again\n", "")
    record = load_record((site.spool / "active" / "job" / "result.toml").read_bytes())
    assert record.outcome is Outcome.DEFERRED
    assert [one.status for one in record.recipients] == [Status.DELIVERED, Status.PENDING]
    assert len(record.attempts) == 1


def test_retry_of_a_doubt_says_possible_duplicate(site: Any) -> None:
    """Whoever was in doubt may get a second copy, and the record says so."""
    result = site.result("job", Outcome.IN_DOUBT)
    assert not due_again(result, now=NEXT).possible_duplicate
    doubtful = site.result("job", Outcome.IN_DOUBT, recipients=tuple(
        type(one)(address=one.address, status=Status.IN_DOUBT) for one in result.recipients))  # fmt: skip
    assert due_again(doubtful, now=NEXT).possible_duplicate


def test_retry_all(site: Any, maildropd: Any) -> None:
    """``--all`` takes every failed and deferred job, and nothing else."""
    site.job(State.FAILED, "a", site.result("a", Outcome.FAILED))
    site.job(State.DEFERRED, "b", site.result("b", Outcome.DEFERRED, next_attempt=NEXT + timedelta(days=1)))
    site.job(State.SENT, "c", site.result("c", Outcome.SENT))
    done = maildropd("retry", "--all")
    assert sorted(done.out.splitlines()) == ["a: will be sent again", "b: will be sent again"]
    assert sorted(os.listdir(site.spool / "active")) == ["a", "b"]


def test_retry_dry_run_changes_nothing(site: Any, maildropd: Any) -> None:
    """``--dry-run`` says what would be done, and fails where the real thing would."""
    site.job(State.FAILED, "a", site.result("a", Outcome.FAILED))
    site.job(State.SENT, "c", site.result("c", Outcome.SENT))
    done = maildropd("retry", "a", "c", "--dry-run")
    assert (done.code, done.out) == (64, "a: would be sent again\n")
    assert "sent/c: is sent; only failed and deferred jobs can be tried again" in done.err
    assert os.listdir(site.spool / "active") == []


def test_retry_goes_on_after_a_job_that_can_not(site: Any, maildropd: Any) -> None:
    """One job that can't be tried again does not keep the next from it; the code tells."""
    site.job(State.FAILED, "a")
    site.job(State.FAILED, "b", result__toml=b"torn")
    site.job(State.FAILED, "c", site.result("c", Outcome.FAILED))
    done = maildropd("retry", "a", "b", "c")
    assert (done.code, done.out) == (65, "c: will be sent again\n")
    assert "failed/a: has no result, so what was delivered is unknown; drop it again" in done.err
    assert "is torn" in done.err


def test_a_job_that_goes_away_in_between_is_told(site: Any, maildropd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that the running daemon takes while ``retry --all`` is at work is no disk trouble."""
    site.job(State.DEFERRED, "a", site.result("a", Outcome.DEFERRED, next_attempt=NEXT))
    real = Spool.names

    def names(spool: Spool, state: State) -> Any:
        found = list(real(spool, state))
        return [*found, "gone"] if state is State.FAILED else found

    monkeypatch.setattr(Spool, "names", names)
    done = maildropd("retry", "--all")
    assert (done.code, done.out) == (64, "a: will be sent again\n")
    assert "failed/gone: is not there any more; perhaps it was due; maildropd list" in done.err
