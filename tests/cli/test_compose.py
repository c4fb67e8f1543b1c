"""``lint`` and ``render``: what would be sent, and what keeps it from being sent."""

from __future__ import annotations

import email
import email.policy
from pathlib import Path
from typing import Any

import pytest

from maildrop.spool.layout import State
from maildrop.spool.record import Outcome

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "jobs"
GOOD = sorted(path.name for path in EXAMPLES.iterdir() if path.name != "broken")
EML = b"From: me@example.com\r\nTo: a@example.org\r\nSubject: hi\r\n\r\nHello\r\n"


@pytest.mark.parametrize("name", GOOD)
def test_lint_finds_the_examples_fine(name: str, site: Any, maildropd: Any) -> None:
    """A good job is one line: size, sender, recipients, subject."""
    assert site.config.exists()
    done = maildropd("lint", EXAMPLES / name)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{EXAMPLES / name}: fine; ")
    assert " octets from <" in done.out


def test_lint_needs_no_configuration(maildropd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a developer's machine without any configuration jobs can be checked all the same."""
    monkeypatch.delenv("MAILDROPD_CONFIG", raising=False)
    monkeypatch.setattr("maildrop.config.DEFAULT_PATH", "/nowhere/maildropd.toml")
    assert maildropd("lint", EXAMPLES / "nightly-backup").code == 0
    assert maildropd("lint", "no-such-job").code == 64
    assert maildropd("lint", EXAMPLES / "nightly-backup", "--config", "/nowhere").code == 78


def test_lint_tells_every_problem_of_every_job(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """65 if any job is bad; each problem is a line with the job in front, and good jobs are still told."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "envelope.toml").write_text('form = "x"\nto = "nobody"\n', "utf-8")
    letter = tmp_path / "letter.eml"
    letter.write_bytes(EML)
    assert site.config.exists()
    done = maildropd("lint", bad, letter)
    assert done.code == 65
    *problems, good = done.out.splitlines()
    assert len(problems) >= 2
    assert all(line.startswith(f"{bad}: envelope.toml: ") for line in problems)
    assert good.startswith(f"{letter}: fine; ")


def test_lint_knows_the_configured_relays(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """A relay that is not configured is found before the job is dropped."""
    job = tmp_path / "job"
    job.mkdir()
    (job / "envelope.toml").write_text('from = "a@b.example"\nto = "c@d.example"\nrelay = "mian"\n', "utf-8")
    assert site.config.exists()
    done = maildropd("lint", job)
    assert done.code == 65
    assert "no relay 'mian' is configured; did you mean 'main'?" in done.out


def test_lint_takes_names_of_jobs_in_the_spool(site: Any, maildropd: Any) -> None:
    """A name without a slash is looked for in the spool."""
    site.job(State.FAILED, "job")
    assert maildropd("lint", "job").code == 0
    done = maildropd("lint", "jbo")
    assert done.code == 64
    assert "did you mean 'job'?" in done.err


@pytest.mark.parametrize("path", ["./nothing", "/dev/null/x"])
def test_lint_of_nothing_is_64(path: str, site: Any, maildropd: Any) -> None:
    """A path that leads nowhere is a usage error with the next step."""
    assert site.config.exists()
    done = maildropd("lint", path)
    assert done.code == 64
    assert "name a folder or an .eml file" in done.err


def test_a_body_that_can_not_be_decoded_is_found(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """``lint`` composes the message, so that it finds what only composing finds."""
    job = tmp_path / "job"
    job.mkdir()
    (job / "envelope.toml").write_text('from = "a@b.example"\nto = "c@d.example"\n', "utf-8")
    (job / "body.txt").write_bytes(b"caf\xe9\n")
    assert site.config.exists()
    done = maildropd("lint", job)
    assert done.code == 65
    assert "body.txt" in done.out


def test_render_prints_the_exact_message(site: Any, maildropd: Any) -> None:
    """The message goes to standard output with CRLF, what is told about it to standard error."""
    assert site.config.exists()
    done = maildropd("render", EXAMPLES / "invoice-4711")
    assert done.code == 0
    message = email.message_from_bytes(done.octets, policy=email.policy.SMTP)
    assert message["Message-ID"]
    assert message.is_multipart()
    assert b"\n" not in done.octets.replace(b"\r\n", b"")
    assert f"{len(done.octets)} octets from <" in done.err


def test_render_is_the_same_for_the_same_identity(site: Any, maildropd: Any) -> None:
    """With Message-ID and Date fixed, the same octets come out each time; without, another Message-ID."""
    assert site.config.exists()
    fixed = ("render", EXAMPLES / "invoice-4711", "--message-id", "4711@x.example", "--date", "2026-11-23T08:00:00Z")
    first, second, third = maildropd(*fixed), maildropd(*fixed), maildropd("render", EXAMPLES / "invoice-4711")
    assert first.octets == second.octets
    assert first.octets != third.octets
    assert b"Message-ID: <4711@x.example>\r\n" in first.octets
    assert b"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n" in first.octets


def test_render_of_a_tried_job_keeps_its_identity(site: Any, maildropd: Any) -> None:
    """A job with a record comes out as it was sent: the recorded Message-ID, and the claim as its Date."""
    site.job(State.FAILED, "job", site.result("job", Outcome.FAILED))
    first, second = maildropd("render", "job"), maildropd("render", "failed/job")
    assert first.octets == second.octets
    assert b"Message-ID: <1@example.com>\r\n" in first.octets
    assert b"Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n" in first.octets
    assert b"<2@example.com>" in maildropd("render", "job", "--message-id", "<2@example.com>").octets


def test_render_of_a_job_with_a_torn_record(site: Any, maildropd: Any) -> None:
    """A record that can't be read is as if there were none."""
    site.job(State.FAILED, "job", result__toml=b"torn")
    assert maildropd("render", "job").code == 0


def test_render_into_a_file(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """``-o`` writes the same octets into a file."""
    assert site.config.exists()
    letter = tmp_path / "letter.eml"
    letter.write_bytes(EML)
    done = maildropd(
        "render", letter, "-o", tmp_path / "out.eml", "--message-id", "1@x", "--date", "2026-11-23T08:00:00Z"
    )
    assert (done.code, done.octets) == (0, b"")
    printed = maildropd("render", letter, "--message-id", "1@x", "--date", "2026-11-23T08:00:00Z")
    assert (tmp_path / "out.eml").read_bytes() == printed.octets


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--date", "yesterday"), 64, "write it like 2026-11-23T08:00:00Z"),
        (("--message-id", "a\r\nBcc: x@y"), 64, "is not a Message-ID; write it like"),
        (("--message-id", "no-at-sign"), 64, "is not a Message-ID; write it like"),
        (("-o", "/nowhere/out.eml"), 73, "name another file"),
    ],
)
def test_what_render_refuses(options: tuple[str, ...], code: int, words: str, site: Any, maildropd: Any) -> None:
    """Options that make no sense end with their code and a way out, and print no message."""
    assert site.config.exists()
    done = maildropd("render", EXAMPLES / "nightly-backup", *options)
    assert (done.code, done.octets) == (code, b"")
    assert words in done.err


def test_a_date_without_an_offset_is_this_machines(site: Any, maildropd: Any) -> None:
    """A time without an offset is in the zone of this machine."""
    assert site.config.exists()
    done = maildropd("render", EXAMPLES / "nightly-backup", "--date", "2026-11-23T08:00:00")
    assert b"Date: Mon, 23 Nov 2026 08:00:00 " in done.octets


def test_render_of_a_bad_job_is_65(site: Any, maildropd: Any) -> None:
    """A job that can't be sent prints its problems and no message."""
    assert site.config.exists()
    done = maildropd("render", EXAMPLES / "broken")
    assert (done.code, done.octets) == (65, b"")
    assert done.err.startswith("maildropd: ")


# Warnings


def make_job(folder: Path, envelope: str, **files: bytes) -> Path:
    """Make a job folder; ``__`` in a file's name is a dot."""
    folder.mkdir()
    (folder / "envelope.toml").write_text(envelope, "utf-8")
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


_SUBJECT = "write what the mail is about; filters distrust mail without it"


def test_lint_warns_of_what_is_legal_and_still_wrong(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """Each warning is a line with the job, where and the way out, before the line that says fine; the code stays 0."""
    assert site.config.exists()
    job = make_job(tmp_path / "job", 'from = "a@b.example"\nto = "c@d.example"\n', body__html=b"<img src='x.png'>")
    done = maildropd("lint", job)
    assert (done.code, done.err) == (0, "")
    *warnings, fine = done.out.splitlines()
    for line, words in zip(
        warnings,
        [
            f"envelope.toml: subject: is missing or empty; {_SUBJECT}",
            "envelope.toml: html: has no plain text beside it; add a body.txt, or set text_from_html = true",
            "body.html: refers to 'x.png', which is not in the job; put the file into the job's folder",
            """body.html: 1 image without alt ('x.png'); say in alt="…" what it shows; alt="" if it is decoration""",
        ],
        strict=True,
    ):
        assert line == f"{job}: warning: {words}"
    assert fine.startswith(f"{job}: fine; ")


def test_finished_messages_get_no_advice(site: Any, maildropd: Any, tmp_path: Path) -> None:
    """A program's own message is not judged for its style."""
    assert site.config.exists()
    (tmp_path / "x.eml").write_bytes(EML.replace(b"Subject: hi\r\n", b""))
    assert "warning" not in maildropd("lint", "x.eml").out


# render --open


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Play a desktop; the list holds the files that it was told to open."""
    files: list[Path] = []
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr("maildrop.cli.desktop.shutil.which", lambda name: f"/usr/bin/{name}")

    def launch(path: str, **_options: bool) -> int:
        files.append(Path(path))
        return 0

    monkeypatch.setattr("click.launch", launch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return files


def test_render_shows_the_message_on_the_desktop(site: Any, maildropd: Any, opened: list[Path]) -> None:
    """``--open`` writes it as NAME.eml into a folder that only the user can enter, prints that path, and opens it."""
    assert site.config.exists()
    done = maildropd("render", EXAMPLES / "invoice-4711", "--open")
    (path,) = opened
    assert (done.code, done.out) == (0, f"{path}\n")
    assert path.name == "invoice-4711.eml"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert email.message_from_bytes(path.read_bytes(), policy=email.policy.SMTP)["Subject"]


def test_render_opens_the_file_that_is_named(site: Any, maildropd: Any, opened: list[Path], tmp_path: Path) -> None:
    """With ``-o`` that file is opened."""
    assert site.config.exists()
    done = maildropd("render", EXAMPLES / "invoice-4711", "--open", "-o", "out.eml")
    assert (done.code, done.out, opened) == (0, "out.eml\n", [tmp_path / "out.eml"])


@pytest.mark.parametrize("lacks", ["desktop", "opener", "program"])
def test_without_a_desktop_the_file_is_there_all_the_same(
    lacks: str, site: Any, maildropd: Any, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """69: what is missing to show it, where the file is, and the next step."""
    if lacks == "desktop":
        monkeypatch.delenv("DISPLAY")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    elif lacks == "opener":
        monkeypatch.setattr("maildrop.cli.desktop.shutil.which", lambda _name: None)
    else:
        monkeypatch.setattr("click.launch", lambda _url, **_options: 3)
    words = {"desktop": "there is no desktop in this session; open the file on a machine with a desktop",
             "opener": "xdg-open is missing; install xdg-utils",
             "program": "xdg-open can't open it; install a mail program"}  # fmt: skip
    assert site.config.exists()
    done = maildropd("render", EXAMPLES / "invoice-4711", "--open")
    assert (done.code, opened) == (69, [])
    assert f"is written, but {words[lacks]}" in done.err
    path = Path(done.out.strip())
    assert path.is_relative_to(site.spool.parent)
    assert path.stat().st_size > 0


def test_a_temporary_folder_that_can_not_be_made_is_73(
    site: Any, maildropd: Any, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way out is another place."""

    def fail(**_options: str) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", fail)
    assert site.config.exists()
    done = maildropd("render", EXAMPLES / "invoice-4711", "--open")
    assert (done.code, done.out, opened) == (73, "", [])
    assert "name a file with -o" in done.err


def test_lint_judges_the_others_beside_an_unknown_name(maildropd: Any, tmp_path: Path) -> None:
    """A name that does not exist is told, and every other job is judged; an invalid one decides the exit code."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
        (folder / "envelope.toml").write_text('from = "a@example.com"\nto = "b@example.org"\nsubject = "x"\n')
    done = maildropd("lint", tmp_path / "gone", good)
    assert (done.code, f"{good}: fine" in done.out, "gone" in done.err) == (64, True, True)
    (bad / "envelope.toml").write_text("from = 1")
    done = maildropd("lint", bad, tmp_path / "gone", good)
    assert (done.code, f"{good}: fine" in done.out, "gone" in done.err) == (65, True, True)
