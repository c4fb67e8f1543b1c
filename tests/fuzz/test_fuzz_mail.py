"""The long run tells what it did, and keeps what went wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz import fuzz_mail
from tests.fuzz.mail.opinions import missing

pytestmark = pytest.mark.skipif(bool(missing()) and "CI" not in os.environ, reason=missing())


def test_a_run_ends_with_its_figure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The last line says how many messages, of which seeds, on which Python, with how many violations."""
    assert fuzz_mail.run(20, 2, 5, str(tmp_path / "kept")) == 0
    out, _ = capfd.readouterr()
    assert out.startswith("20 messages (seeds 5 to 24) in ")
    assert out.endswith(": 0 violations\n")
    assert not (tmp_path / "kept").exists()


def test_a_violation_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The job, the message and the reason lie in a folder named after the seed."""
    monkeypatch.setattr(fuzz_mail, "check", lambda job, second: (b"", ["octets: a NUL"]))  # noqa: ARG005
    assert fuzz_mail.run_batch(range(7, 9), str(tmp_path)) == 2
    assert (tmp_path / "7" / "violations.txt").read_text() == "octets: a NUL\n"
    assert (tmp_path / "7" / "message.eml").read_bytes().startswith(b"Date: ")
    assert b"from" in (tmp_path / "8" / "job" / "envelope.toml").read_bytes()
    assert "seed 8: octets: a NUL" in capfd.readouterr().out
