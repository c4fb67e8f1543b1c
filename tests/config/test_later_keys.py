"""Keys of a later version: each is named by its own path, and not as an unknown key."""

from __future__ import annotations

from pathlib import Path

import pytest

from maildrop import config
from maildrop.errors import ConfigurationError

_TEXT = """\
[spool]
path = "/var/spool/maildropd"
[relays.main]
host = "smtp.example.com"
[settle]
keep_message = true
[retention]
sent = "30d"
"""


def test_a_key_of_a_later_version_is_named_by_its_own_path(tmp_path: Path) -> None:
    """Each table and key is reported once, and by its path, so that the line can be found."""
    path = tmp_path / "maildropd.toml"
    path.write_text(_TEXT)
    with pytest.raises(ConfigurationError) as caught:
        config.read(str(path))
    assert [str(problem).removeprefix(f"{path}: ") for problem in caught.value.problems] == [
        f"{key}: is not available in this version; remove it" for key in ("settle.keep_message", "retention")
    ]
