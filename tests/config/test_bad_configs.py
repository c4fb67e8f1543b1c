"""Configurations that can't be used, each with the exact problems that its folder's ``expected.txt`` shows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from maildrop import config
from maildrop.errors import ConfigurationError

FOLDER = Path(__file__).resolve().parents[1] / "bad_configs"
CONFIGS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def test_there_are_configurations() -> None:
    """The walk below has something to walk through."""
    assert len(CONFIGS) >= 15


@pytest.mark.parametrize("name", CONFIGS)
def test_bad_config(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration stops the start, and a person is told exactly this."""
    for variable in ("CREDENTIALS_DIRECTORY", "RELAY_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)
    shutil.copytree(FOLDER / name, tmp_path / name)
    monkeypatch.chdir(tmp_path / name)
    for secret in (tmp_path / name).glob("*.password"):
        os.chmod(secret, 0o644)
    expected = (FOLDER / name / "expected.txt").read_text("utf-8").splitlines()
    with pytest.raises(ConfigurationError) as refusal:
        config.load("maildropd.toml")
    assert [str(problem) for problem in refusal.value.problems] == expected
    assert refusal.value.exit_code == 78
