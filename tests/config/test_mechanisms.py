"""``[relays.NAME.auth] mechanisms``: only these are used."""

from __future__ import annotations

from pathlib import Path

import pytest

from maildrop import config
from maildrop.errors import ConfigurationError
from maildrop.smtp.auth import choose

_TEXT = """\
[spool]
path = "/var/spool/maildropd"
[relays.main]
host = "smtp.example.com"
[relays.main.auth]
user = "anna"
password_env = "MAILDROP_TEST_PASSWORD"
mechanisms = ["{mechanism}"]
"""


def test_only_the_named_mechanisms_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PLAIN is stronger by our order, but LOGIN alone is allowed."""
    monkeypatch.setenv("MAILDROP_TEST_PASSWORD", "secret")
    path = tmp_path / "maildropd.toml"
    path.write_text(_TEXT.format(mechanism="login"))
    credentials = config.load(str(path)).relays["main"].credentials
    assert credentials is not None
    chosen = choose(("PLAIN", "LOGIN"), credentials)
    assert chosen is not None
    assert chosen.name == "LOGIN"
    assert choose(("PLAIN",), credentials) is None


def test_a_mechanism_that_is_not_known_stops_the_start(tmp_path: Path) -> None:
    """It would never be used: said at once, not at the first mail."""
    path = tmp_path / "maildropd.toml"
    path.write_text(_TEXT.format(mechanism="CRAM-MD5"))
    with pytest.raises(
        ConfigurationError, match=r"'CRAM-MD5' is not a mechanism of this version; this version has PLAIN"
    ):
        config.load(str(path), secrets=False)


def test_the_inner_name_of_a_key_is_unknown(tmp_path: Path) -> None:
    """The author of ``[defaults]`` is written ``from``, as in an envelope, and in no other way."""
    path = tmp_path / "maildropd.toml"
    path.write_text('[spool]\npath = "/s"\n[relays.main]\nhost = "h"\n[defaults]\nauthor = "a@example.com"\n')
    with pytest.raises(ConfigurationError, match="author: unknown key"):
        config.read(str(path))
