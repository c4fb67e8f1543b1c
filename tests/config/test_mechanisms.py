"""``[relays.NAME.auth] mechanisms``: only these are used."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from maildrop import config
from maildrop.errors import ConfigurationError
from maildrop.smtp import fitting

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
    source = config.load(str(path)).relays["main"].credentials
    assert source is not None
    credentials = asyncio.run(source.credentials())
    assert list(fitting(credentials)) == ["LOGIN"]
    assert (credentials.host, credentials.port) == ("smtp.example.com", 587)


def test_a_certificate_needs_no_password(tmp_path: Path) -> None:
    """EXTERNAL alone, without user and password: the client certificate says who we are."""
    path = tmp_path / "maildropd.toml"
    text = _TEXT.format(mechanism="EXTERNAL").replace('password_env = "MAILDROP_TEST_PASSWORD"\n', "")
    path.write_text(text.replace('user = "anna"\n', ""))
    source = config.load(str(path)).relays["main"].credentials
    assert source is not None
    assert list(fitting(asyncio.run(source.credentials()))) == ["EXTERNAL"]
    assert not source.changed()


def test_a_mechanism_that_is_not_known_stops_the_start(tmp_path: Path) -> None:
    """It would never be used: said at once, not at the first mail."""
    path = tmp_path / "maildropd.toml"
    path.write_text(_TEXT.format(mechanism="CRAM-MD4"))
    with pytest.raises(
        ConfigurationError, match=r"'CRAM-MD4' is not a mechanism of this version; did you mean 'CRAM-MD5'"
    ):
        config.load(str(path), secrets=False)


def test_the_inner_name_of_a_key_is_unknown(tmp_path: Path) -> None:
    """The author of ``[defaults]`` is written ``from``, as in an envelope, and in no other way."""
    path = tmp_path / "maildropd.toml"
    path.write_text('[spool]\npath = "/s"\n[relays.main]\nhost = "h"\n[defaults]\nauthor = "a@example.com"\n')
    with pytest.raises(ConfigurationError, match="author: unknown key"):
        config.read(str(path))
