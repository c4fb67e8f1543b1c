"""Jobs that can't be sent, each with the exact problems that its folder's `expected.txt` shows to a person."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from maildrop.errors import InvalidJob
from maildrop.mail.envelope import Defaults, Limits, parse_envelope, parse_overrides
from maildrop.mail.message import compose, new_identity
from maildrop.mail.part import Source
from maildrop.mail.pickup import Dialect, read_pickup

FOLDER = Path(__file__).resolve().parents[1] / "bad_jobs"
JOBS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
IDENTITY = new_identity(domain="host.example", now=datetime(2026, 11, 23, tzinfo=UTC), token="0" * 32)


def judge(job: Path, open_source: type[Source]) -> None:
    """Parse and compose one job, as the daemon does."""
    names = {path.relative_to(job).as_posix() for path in job.rglob("*") if path.is_file()} - {"expected.txt"}
    envelope = (job / "envelope.toml").read_bytes() if "envelope.toml" in names else None
    limits = Limits()

    def opened(name: str) -> Source:
        return open_source(name, (job / name).read_bytes())  # type: ignore[call-arg]

    if "message.eml" in names:
        read_pickup(
            opened("message.eml"),
            overrides=None if envelope is None else parse_overrides(envelope, limits=limits),
            identity=IDENTITY,
            defaults=Defaults(),
            dialect=Dialect.AUTO,
            limits=limits,
        )
        return
    assert envelope is not None
    mail = parse_envelope(
        envelope, files=names - {"envelope.toml"}, defaults=Defaults(), limits=limits, open_source=opened
    )
    compose(mail.content, IDENTITY, open_source=opened, limits=limits)


def test_there_are_jobs() -> None:
    """The walk below has something to walk through."""
    assert len(JOBS) >= 20


@pytest.mark.parametrize("name", JOBS)
def test_bad_job(name: str, make_source: type[Source]) -> None:
    """The job is invalid, and a person is told exactly this."""
    expected = (FOLDER / name / "expected.txt").read_text("utf-8").splitlines()
    with pytest.raises(InvalidJob) as refusal:
        judge(FOLDER / name, make_source)
    assert [str(problem) for problem in refusal.value.problems] == expected
