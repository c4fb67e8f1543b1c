"""``explain``: which way a job goes, how it counts, and what comes next, wherever it lies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from maildrop.spool import bulletin
from maildrop.spool.layout import Spool, State
from maildrop.spool.record import Outcome

ROUTES = """
recipients_per_message = 2
max_message_size = "1KiB"
[relays.main.auth]
user = "robot@example.com"
password_env = "NOT_NEEDED"
plaintext = true
[relays.spare]
host = "spare.example"
in_doubt = "hold"
[[routes]]
recipient = "*@example.org"
relays = ["main", "spare"]
[[routes]]
sender = "boss@*"
job = "urgent-*"
relays = "spare"
"""
ENVELOPE = """\
from = "Me <me@example.com>"
to = ["a@example.org", "b@example.org", "c@example.org", "d@example.net"]
subject = "hi"
not_before = "2h"
expires = 2026-12-01T00:00:00Z
priority = 3
notify = ["failure", "delay"]
envelope_id = "E1"
return = "headers"
"""

GOLDEN = """\
job (not in the spool)
  mail          SIZE octets from <me@example.com> to a@example.org, b@example.org, c@example.org, d@example.net, subject 'hi'
  needs         nothing special of the relay
  way           main, then spare
                route 1 (recipient '*@example.org'): a@example.org, b@example.org, c@example.org
                no route matches: d@example.net
  relay main    state not known; 2 transactions of at most 2 recipients; takes 1024 octets
  relay spare   state not known; 1 transaction of at most 100 recipients
  policy        none: whoever can drop a job may send to everybody
  terms         priority 3; in doubt: resend (relay main), hold (relay spare); a refused recipient does not keep it from the others
  times         not before 2 h after the claim; given up 2026-12-01T00:00:00.000Z
  notices       notify failure, delay, envelope_id E1, return headers
  next          nothing, until it is renamed into SPOOL/incoming/
"""  # noqa: E501  # as it is printed


def make(folder: Path, envelope: str = ENVELOPE) -> Path:
    """Make a job."""
    folder.mkdir(parents=True)
    (folder / "envelope.toml").write_text(envelope, "utf-8")
    return folder


def next_of(done: Any) -> str:
    """Return what comes next."""
    last = done.out.splitlines()[-1]
    assert last.startswith("  next          ")
    return str(last[16:])


@pytest.fixture
def daemon(site: Any) -> Iterator[Spool]:
    """Play a daemon that owns the spool and has posted what it knows."""
    with Spool.open(str(site.spool), volatile=True) as spool:
        spool.lock()
        why = {"why": "connect: no answer", "until": "2026-11-23T08:00:00.000Z", "sessions": 0}
        bulletin.post(spool, {"relays": [{"name": "main", "state": "held", **why}]})
        yield spool


def test_everything_that_can_be_known(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """A folder anywhere: mail, needs, rules with their recipients, relays with their limits, terms, times, notices."""
    site.configure(ROUTES)
    job = make(tmp_path / "job")
    done = maildropd("explain", job)
    size = json.loads(maildropd("explain", job, "--json").out)["size"]
    out = done.out.replace(str(site.spool), "SPOOL").replace(f"{size} octets", "SIZE octets")
    assert (done.code, done.err, out) == (0, "", GOLDEN)


def test_json(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """The same as one object, for programs."""
    site.configure(ROUTES)
    make(tmp_path / "urgent-1", ENVELOPE.replace("me@", "boss@").replace("b@example.org", "b@example.net"))
    data = json.loads(maildropd("explain", "urgent-1", "--json").out)
    assert (data["job"], data["state"], data["valid"]) == ("urgent-1", None, True)
    first, second = data["ways"]
    assert first["rules"] == [
        {"rule": "route 1 (recipient '*@example.org')", "recipients": ["a@example.org", "c@example.org"]}
    ]
    assert second["rules"] == [
        {"rule": "route 2 (sender 'boss@*', job 'urgent-*')", "recipients": ["b@example.net", "d@example.net"]}
    ]
    assert [relay["name"] for relay in second["relays"]] == ["spare"]
    assert (data["notify"], data["envelope_id"], data["return"]) == (["failure", "delay"], "E1", "headers")
    assert data["expires"] == "2026-12-01T00:00:00.000Z"
    assert data["warnings"] == []


def test_the_envelopes_own_relay_and_all_or_nothing(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """The envelope goes before the routes; all-or-nothing is one transaction whatever the relay's limit."""
    site.configure(ROUTES)
    make(tmp_path / "job", 'relay = "main"\npartial = "all-or-nothing"\nin_doubt = "assume-sent"\n' + ENVELOPE)
    done = maildropd("explain", "./job")
    assert "'relay' in the envelope: a@example.org" in done.out
    assert "state not known; 1 transaction of" in done.out
    assert "in doubt: assume-sent; one refused recipient keeps it from all" in done.out


def test_what_a_relay_does_not_take(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """Extensions that the mail needs, and a size over the relay's limit."""
    site.configure(ROUTES)
    job = make(tmp_path / "job", ENVELOPE.replace("a@example.org", "jürgen@example.org"))
    (job / "body.txt").write_text("x\n" * 1000)
    done = maildropd("explain", job)
    assert "needs         SMTPUTF8 of the relay" in done.out
    assert "takes 1024 octets: TOO LARGE" in done.out


def test_warnings_are_those_of_lint(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """A missing subject, and a sender outside of the domain that the relay logs in from; the code stays 0."""
    site.configure(ROUTES)
    envelope = ENVELOPE.replace('subject = "hi"\n', "").replace("me@example.com", "me@other.example")
    make(tmp_path / "job", envelope + 'return_path = "bounces@third.example"\n')
    done, linted = maildropd("explain", "job"), maildropd("lint", "job")
    assert (done.code, linted.code) == (0, 0)
    warnings = [line[16:] for line in done.out.splitlines() if line.startswith("  warning       ")]
    assert [line.partition(": is ")[0] for line in warnings] == [
        "envelope.toml: subject", "envelope.toml: from", "envelope.toml: return_path",
    ]  # fmt: skip
    assert [f"job: warning: {line}" for line in warnings] == linted.out.splitlines()[:-1]
    assert "is at other.example, but relay main logs in as robot@example.com" in warnings[1]
    assert "use an address at example.com, or have the provider allow other.example" in warnings[1]


def test_domains_that_we_sign_for_are_ours(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """What ``dkim.domains`` covers is no strange sender."""
    dkim = '[dkim]\nselector = "s"\ndomains = ["other.example"]\nkey_env = "NOT_NEEDED"\n'
    site.configure(ROUTES + dkim)
    make(tmp_path / "job", ENVELOPE.replace("me@example.com", "me@mail.other.example"))
    assert "warning" not in maildropd("explain", "job").out


def test_an_invalid_job_is_65(site: Any, maildropd: Any) -> None:
    """Every problem, and where it will go."""
    path = make(site.spool / "incoming" / "job", 'form = "x"\n')
    done = maildropd("explain", "job")
    assert (done.code, done.err) == (65, "")
    lines = [line for line in done.out.splitlines() if line.startswith("  invalid ")]
    assert len(lines) >= 2
    assert next_of(done).endswith("then it goes to failed/, as invalid")
    data = json.loads(maildropd("explain", path, "--json").out)
    assert data["valid"] is False
    assert data["problems"][0]["where"].startswith("envelope.toml")


def test_an_unknown_relay_is_65(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """A route that can't be is a problem of the job."""
    assert site.config.exists()
    make(tmp_path / "job", 'relay = "mian"\n' + ENVELOPE)
    done = maildropd("explain", "job")
    assert done.code == 65
    assert "did you mean 'main'?" in done.out
    assert next_of(done).startswith("nothing, until it is mended and renamed into ")


# What comes next


def test_in_incoming(site: Any, maildropd: Any, daemon: Spool) -> None:
    """A drop is judged as the daemon would judge it: complete, still changing, incomplete, or not looked at."""
    assert daemon.owner() == os.getpid()
    incoming = site.spool / "incoming"
    make(incoming / "done")
    make(incoming / "lacks", 'attachments = ["a.pdf"]\n' + ENVELOPE)
    make(incoming / "up.part")
    assert next_of(maildropd("explain", "done")) == "waits until nothing in it has changed for 2 s"
    site.configure("[intake]\nquiet_seconds = 0")
    assert next_of(maildropd("explain", "done")) == "is complete: it is claimed at once"
    assert next_of(maildropd("explain", "lacks")).startswith(
        "waits: incoming/lacks/envelope.toml: file 'a.pdf' is not in"
    )
    assert next_of(maildropd("explain", "up.part")).startswith("its name says that it is still being written")


def test_without_a_daemon(site: Any, maildropd: Any) -> None:
    """That nobody will claim it is told."""
    site.configure("[intake]\nquiet_seconds = 0")
    make(site.spool / "incoming" / "job")
    assert (
        next_of(maildropd("explain", "job")) == "is complete: it is claimed at once (but the daemon does not run now)"
    )


def test_in_tmp(site: Any, maildropd: Any) -> None:
    """What is being built waits for its rename."""
    make(site.spool / "tmp" / "job")
    done = maildropd("explain", site.spool / "tmp" / "job")
    assert done.out.startswith("job (tmp)\n")
    assert next_of(done) == f"nothing, until it is renamed into {site.spool}/incoming/"


def test_in_active(site: Any, maildropd: Any, daemon: Spool) -> None:
    """A job in work waits for a held relay only if there is no other."""
    assert daemon.owner() == os.getpid()
    site.job(State.ACTIVE, "job")
    done = maildropd("explain", "job")
    assert next_of(done) == "waits for relay main, which is held"
    assert "relay main    held until 2026-11-23T08:00:00.000Z: connect: no answer; 1 transaction" in done.out
    site.configure('[relays.spare]\nhost = "spare.example"')
    assert next_of(maildropd("explain", "job")) == "is being worked on, or waits for its turn"


@pytest.mark.parametrize(
    ("state", "outcome", "words"),
    [
        (State.DEFERRED, Outcome.DEFERRED, "next attempt now"),
        (State.SENT, Outcome.SENT, "nothing: the relay has taken it for every recipient"),
        (State.HELD, Outcome.DEFERRED, "was put aside: it stays until it is moved into incoming/"),
        (
            State.FAILED,
            Outcome.FAILED,
            "nothing, until a person decides: 'maildropd retry job' sends it to b@example.org",
        ),
    ],
)
def test_in_the_other_folders(state: State, outcome: Outcome, words: str, site: Any, maildropd: Any) -> None:
    """The folder and the record say what comes next."""
    site.job(state, "job", site.result("job", outcome))
    done = maildropd("explain", f"{state}/job")
    assert (done.code, next_of(done)) == (0, words)
    assert done.out.startswith(f"job ({state})\n")


def test_a_deferred_job_has_its_time(site: Any, maildropd: Any) -> None:
    """The next attempt as recorded; times that count from the claim are told as times; delivered is not open."""
    when = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    result = site.result("job", Outcome.DEFERRED, next_attempt=when)
    envelope = b'from = "me@example.com"\nto = ["a@example.org", "b@example.org"]\nsubject = "hi"\n'
    site.job(State.DEFERRED, "job", result, envelope__toml=envelope)
    done = maildropd("explain", "job")
    assert next_of(done) == f"next attempt at {when:%Y-%m-%dT%H:%M:%S}.000Z"
    assert "  still open    b@example.org\n" in done.out
    assert "given up 2026-11-28T08:00:00.000Z" in done.out


def test_a_failed_job_without_a_record(site: Any, maildropd: Any) -> None:
    """There is nothing to try again; the way out is another drop."""
    site.job(State.FAILED, "job")
    assert next_of(maildropd("explain", "job")).endswith("drop it again by moving it into incoming/")


def test_an_eml_file(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """A bare message is explained like a folder."""
    assert site.config.exists()
    (tmp_path / "x.eml").write_bytes(b"From: me@example.com\r\nTo: a@example.org\r\nSubject: hi\r\n\r\nHello\r\n")
    done = maildropd("explain", "x.eml")
    assert done.code == 0
    assert done.out.startswith("x.eml (not in the spool)\n")
    assert "no routes are configured: a@example.org" in done.out


def test_what_explain_refuses(site: Any, maildropd: Any) -> None:
    """A job that is not there is 64; without a configuration there is no route to tell."""
    assert site.config.exists()
    assert maildropd("explain", "jbo").code == 64
    assert maildropd("explain", "x", "--config", "/nowhere").code == 78
