"""``submit``: a job from the command line, validated, durable before its name is printed."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from maildrop.spool import durable
from maildrop.spool.layout import State
from maildrop.spool.record import Outcome, dump

BASE = ("submit", "--from", "me@example.com", "--to", "a@example.org")


def envelope(site: Any, name: str) -> dict[str, Any]:
    """Read the envelope of a job in incoming."""
    return tomllib.loads((site.spool / "incoming" / name / "envelope.toml").read_text("utf-8"))


def test_standard_input_is_the_body(site: Any, maildropd: Any) -> None:
    """Without a file the text comes from standard input; the job's name is printed, and nothing else."""
    done = maildropd(*BASE, "--subject", 'Ümlaut "quoted"', "--name", "job", stdin=b"Hello\n")
    assert (done.code, done.out, done.err) == (0, "job\n", "")
    assert envelope(site, "job") == {"from": "me@example.com", "to": "a@example.org", "subject": 'Ümlaut "quoted"'}
    assert (site.spool / "incoming" / "job" / "body.txt").read_bytes() == b"Hello\n"
    assert os.listdir(site.spool / "tmp") == []


def test_everything_at_once(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """Files, recipients, header fields and settings all arrive in the job."""
    for name in ("text.txt", "page.html", "data.bin"):
        (tmp_path / name).write_bytes(name.encode())
    done = maildropd(
        *BASE, "--to", "B <b@example.org>", "--cc", "c@example.org", "--bcc", "d@example.org",
        "--text", tmp_path / "text.txt", "--html", tmp_path / "page.html", "--attach", tmp_path / "data.bin",
        "--header", "X-Id: 4711", "--header", "X-Id:4712", "--header", "X-Other: a: b",
        "--set", "priority=3", "--set", "meta.ticket=7", "--set", "in_doubt=hold", "--set", 'expires="2h"',
        "--name", "job",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert envelope(site, "job") == {
        "from": "me@example.com", "to": "a@example.org, B <b@example.org>", "cc": "c@example.org",
        "bcc": "d@example.org", "priority": 3, "meta": {"ticket": 7}, "in_doubt": "hold", "expires": "2h",
        "headers": {"X-Id": ["4711", "4712"], "X-Other": ["a: b"]},
    }  # fmt: skip
    folder = site.spool / "incoming" / "job"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "attachments/data.bin", "body.html", "body.txt", "envelope.toml",
    ]  # fmt: skip


def test_html_alone_reads_no_standard_input(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """With an HTML body standard input is left alone, unless '-' asks for it."""
    (tmp_path / "page.html").write_bytes(b"<p>")
    maildropd(*BASE, "--html", tmp_path / "page.html", "--name", "html", stdin=b"not this")
    assert not (site.spool / "incoming" / "html" / "body.txt").exists()
    maildropd(*BASE, "--html", tmp_path / "page.html", "--text", "-", "--name", "both", stdin=b"this")
    assert (site.spool / "incoming" / "both" / "body.txt").read_bytes() == b"this"


def test_it_is_durable_before_the_name_is_printed(site: Any, maildropd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file, the folder and incoming itself are synced before the command says anything."""
    synced: list[str] = []
    for name in ("sync_file", "sync_directory"):
        real = getattr(durable, name)

        def sync(descriptor: int, real: Any = real) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            real(descriptor)

        monkeypatch.setattr(durable, name, sync)
    real_echo = click.echo

    def echo(text: str) -> None:
        synced.append(f"said {text}")
        real_echo(text)

    monkeypatch.setattr(click, "echo", echo)
    assert maildropd(*BASE, "--name", "job", stdin=b"x").code == 0
    assert [Path(one).name for one in synced[:3]] == ["envelope.toml", "body.txt", ".job"]
    assert synced[3:] == [str(site.spool / "incoming"), "said job"]


def test_a_name_that_is_taken_gets_a_number(site: Any, maildropd: Any) -> None:
    """The printed name is the one that the job has got."""
    assert [maildropd(*BASE, "--name", "job", stdin=b"").out for _ in range(2)] == ["job\n", "job.2\n"]
    assert site.spool.exists()


def test_a_name_is_made(site: Any, maildropd: Any) -> None:
    """Without ``--name`` each job gets a name of its own."""
    first, second = maildropd(*BASE, stdin=b"").out.strip(), maildropd(*BASE, stdin=b"").out.strip()
    assert first != second
    assert sorted(os.listdir(site.spool / "incoming")) == sorted([first, second])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--set", "subjekt=x"), 65, "subjekt: unknown key; did you mean 'subject'?"),
        (("--to", "nobody"), 65, "to: "),
        (("--header", "Bcc: x@y.example"), 65, "Bcc"),
        (("--set", "manifest={}"), 65, "is not available in this version"),
        (("--set", "priority"), 64, "'priority' is not KEY=VALUE; write it like priority=3"),
        (("--set", "=3"), 64, "is not KEY=VALUE"),
        (("--header", "no colon"), 64, "has no colon; write it like 'X-Id: 4711'"),
        (("--attach", "/nowhere"), 64, "No such file or directory; name a file that you can read"),
        (("--attach", "/"), 64, "Is a directory"),
        (("--name", "a/b"), 64, "can't be a job's name"),
        (("--name", ".hidden"), 64, "can't be a job's name"),
        (("--name", "upload.part"), 64, "can't be a job's name"),
        (("--name", ""), 64, "can't be a job's name"),
        (("--name", "a\nb"), 64, "'a\\x0ab' can't be a job's name"),
        (("--name", "x" * 201), 64, "can't be a job's name"),
        (("--wait", "soon"), 64, "'soon' is not a number of seconds; for example --wait 30"),
        (("--wait", "nan"), 64, "is not a number of seconds"),
    ],
)
def test_what_is_refused_leaves_nothing(
    words: tuple[str, ...], code: int, told: str, site: Any, maildropd: Any
) -> None:
    """An invalid job or a wrong word is told with the next step, and nothing is dropped."""
    done = maildropd(*BASE, *words, stdin=b"x")
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert os.listdir(site.spool / "incoming") == os.listdir(site.spool / "tmp") == []


def test_two_attachments_of_one_name(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """Two files that would lie over one another are refused."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").touch()
    done = maildropd(*BASE, "--attach", "a/x.txt", "--attach", "b/x.txt", stdin=b"")
    assert done.code == 64
    assert "two files are called 'attachments/x.txt'; rename one" in done.err
    assert site.spool.exists()


def test_defaults_of_the_configuration_count(site: Any, maildropd: Any) -> None:
    """With ``defaults.from`` no author is needed on the command line."""
    assert maildropd("submit", "--to", "a@example.org", stdin=b"").code == 65
    site.configure('[defaults]\nfrom = "me@example.com"')
    assert maildropd("submit", "--to", "a@example.org", stdin=b"").code == 0


def test_a_spool_that_can_not_be_written_is_73(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """Trouble on disk is told with what to look at, and nothing is left behind."""
    (site.spool / "tmp").rename(tmp_path / "elsewhere")
    done = maildropd(*BASE, stdin=b"x")
    assert (done.code, done.out) == (73, "")
    assert "is the disk full?" in done.err


def test_no_secret_is_needed(site: Any, maildropd: Any) -> None:
    """A producer who can't read the relay's password can submit."""
    site.configure('[relays.main.auth]\nuser = "me"\npassword_file = "/nowhere"\nplaintext = true')
    assert maildropd(*BASE, stdin=b"").code == 0


# --wait


@pytest.fixture
def settle(site: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets a daemon settle the job while the command waits: no waiting in the tests."""

    def prepare(state: State, outcome: Outcome) -> None:
        def pause(_seconds: float) -> None:
            (name,) = os.listdir(site.spool / "incoming")
            folder = site.spool / "incoming" / name
            (folder / "result.toml").write_bytes(dump(site.result(name, outcome)))
            folder.rename(site.spool / state / name)

        monkeypatch.setattr("time.sleep", pause)

    return prepare


@pytest.mark.parametrize(
    ("state", "outcome", "code"),
    [
        (State.SENT, Outcome.SENT, 0),
        (State.FAILED, Outcome.PARTIAL, 65),
        (State.FAILED, Outcome.INVALID, 65),
    ],
)
def test_wait_tells_the_result(state: State, outcome: Outcome, code: int, maildropd: Any, settle: Any) -> None:
    """0 when it was sent, 65 when it failed, with the reason on standard error."""
    settle(state, outcome)
    done = maildropd(*BASE, "--wait", "--name", "job", stdin=b"x")
    assert (done.code, done.out) == (code, "job\n")
    assert done.err == f"{state}: because of {outcome}\n"


def test_wait_is_not_for_ever(site: Any, maildropd: Any) -> None:
    """75 when the time is over, with where to look."""
    done = maildropd(*BASE, "--wait", "0", "--name", "job", stdin=b"x")
    assert (done.code, done.out) == (75, "job\n")
    assert done.err == "not yet: job is still on its way; see 'maildropd show'\n"
    assert (site.spool / "incoming" / "job").exists()


def test_a_prepared_record_in_active_is_no_result(site: Any, maildropd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool below a folder called sent does not make a job look sent before it is."""
    spool = site.spool.parent / "sent" / "spool"
    spool.parent.mkdir()
    site.spool.rename(spool)
    site.spool = spool
    site.configure()
    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))

    def pause(_seconds: float) -> None:
        folder = spool / "incoming" / "job"
        if folder.exists():
            (folder / "result.toml").write_bytes(dump(site.result("job", Outcome.SENT)))
            folder.rename(spool / "active" / "job")

    monkeypatch.setattr("time.sleep", pause)
    assert maildropd(*BASE, "--wait", "5", "--name", "job", stdin=b"x").code == 75
