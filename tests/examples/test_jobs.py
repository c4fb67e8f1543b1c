"""The example jobs are what the demo, the README and the first minutes of a newcomer live on."""

from __future__ import annotations

import email
import email.policy
import re
import tomllib
from pathlib import Path

import pytest

from maildrop.errors import InvalidJob
from maildrop.mail.envelope import Defaults, Limits, parse_envelope

JOBS = Path(__file__).resolve().parents[2] / "examples" / "jobs"
GOOD = ["invoice-4711", "nightly-backup", "order-gb18030", "reminder-cp1252"]
EXAMPLE_DOMAIN = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|net|org)|example)\b")


def files_of(job: Path) -> list[str]:
    """Return the names of a job's files, as the daemon sees them."""
    names = [path.relative_to(job).as_posix() for path in sorted(job.rglob("*")) if path.is_file()]
    return [name for name in names if name != "envelope.toml"]


def test_the_set_is_complete() -> None:
    """There is one job of each kind, and one that is broken on purpose."""
    assert sorted(path.name for path in JOBS.iterdir()) == sorted([*GOOD, "broken", "scan-0042.eml"])


@pytest.mark.parametrize("name", GOOD)
def test_good_jobs_are_valid(name: str) -> None:
    """The envelope has no problem, and the text is in the charset that it declares."""
    job = JOBS / name
    octets = (job / "envelope.toml").read_bytes()
    mail = parse_envelope(octets, files=files_of(job), defaults=Defaults(), limits=Limits())
    assert mail.delivery.forward_paths
    assert mail.content.subject
    charset = tomllib.loads(octets.decode())["charset"] if b"\ncharset" in octets else "utf-8"
    assert (job / "body.txt").read_text(charset)


@pytest.mark.parametrize(("name", "word"), [("reminder-cp1252", "Größenwahn"), ("order-gb18030", "采购订单")])
def test_legacy_texts_are_legacy(name: str, word: str) -> None:
    """The texts in old charsets are not UTF-8: an editor or a checkout that converted them fails here."""
    octets = (JOBS / name / "body.txt").read_bytes()
    assert word.encode(name.rpartition("-")[2]) in octets
    with pytest.raises(UnicodeDecodeError):
        octets.decode("utf-8")


def test_broken_has_two_problems() -> None:
    """The broken job names both of its faults, each with the way out."""
    job = JOBS / "broken"
    with pytest.raises(InvalidJob) as caught:
        parse_envelope((job / "envelope.toml").read_bytes(), files=files_of(job), defaults=Defaults(), limits=Limits())
    first, second = sorted(str(problem) for problem in caught.value.problems)
    assert "payslip-2026-11.pdf" in first
    assert "did you mean 'subject'?" in second


def test_the_finished_message_is_a_pickup_file() -> None:
    """The scanner's file has an IIS envelope at the top, CRLF line ends and a picture that is whole."""
    octets = (JOBS / "scan-0042.eml").read_bytes()
    assert octets.startswith(b"X-Sender: scanner@example.com\r\nX-Receiver: ")
    assert octets.count(b"\n") == octets.count(b"\r\n")
    message = email.message_from_bytes(octets, policy=email.policy.default)
    (page,) = message.iter_attachments()
    assert page.get_content().startswith(b"\x89PNG\r\n")
    assert page.get_content().endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("path", sorted(JOBS.rglob("*.toml")) + sorted(JOBS.glob("*.eml")), ids=lambda path: path.name)
def test_nobody_real_is_written_to(path: Path) -> None:
    """Every address is under a domain that is reserved for examples."""
    text = path.read_text("utf-8")
    assert EXAMPLE_DOMAIN.findall(text)
    assert "@" not in EXAMPLE_DOMAIN.sub("", text)
