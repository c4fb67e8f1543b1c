"""``[relays.NAME.auth.oauth]`` as it is meant: the providers' defaults, refresh tokens that are replaced on disk."""

from __future__ import annotations

import builtins
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from maildrop import config
from maildrop.config import tokens
from maildrop.config.secrets import Place
from maildrop.errors import ConfigurationError
from maildrop.smtp import Secret, TokenCredentials
from maildrop.smtp.token import Flow, OAuthSettings

_HEAD = '[spool]\npath = "/s"\n[relays.main]\nhost = "smtp.example.com"\n[relays.main.auth]\nuser = "app@example.com"\n'


def load(folder: Path, oauth: str) -> config.Config:
    """Load a configuration with this table."""
    path = folder / "maildropd.toml"
    path.write_text(f"{_HEAD}[relays.main.auth.oauth]\n{oauth}")
    return config.load(str(path))


def settings_of(loaded: config.Config) -> OAuthSettings:
    """Return what the relay's token server is asked with."""
    source = loaded.relays["main"].credentials
    assert isinstance(source, TokenCredentials)
    return source._settings


def refresh_token(path: Path, text: str = "first") -> Place:
    """Put a refresh token into a file."""
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return Place(what="refresh_token", kind="file", value=str(path), hint="")


MICROSOFT = 'flow = "client_credentials"\ntenant = "example.com"\nclient_id = "c"\nclient_secret_command = "echo x"\n'


def test_microsoft_365(tmp_path: Path) -> None:
    """The tenant is enough to know the token server and the scope."""
    settings = settings_of(load(tmp_path, MICROSOFT))
    assert settings.token_url == "https://login.microsoftonline.com/example.com/oauth2/v2.0/token"
    assert settings.scope == "https://outlook.office365.com/.default"
    assert (settings.flow, settings.client_id, settings.relay) == (Flow.CLIENT_CREDENTIALS, "c", "main")
    assert settings.subject == ""
    assert settings.client_secret is not None
    assert settings.client_secret.fetch() == Secret("x")


def test_scopes_are_joined(tmp_path: Path) -> None:
    """A list of scopes is one text with blanks, and goes before the usual one."""
    assert settings_of(load(tmp_path, MICROSOFT + 'scope = ["a", "b"]\n')).scope == "a b"


def test_google(tmp_path: Path) -> None:
    """The file of a service account is enough; it acts for the mailbox."""
    key = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, text=True, check=True).stdout
    fields = {"type": "service_account", "client_email": "a@b", "private_key": key, "token_uri": "https://o.example/"}
    path = tmp_path / "key.json"
    path.write_text(json.dumps(fields))
    path.chmod(0o600)
    settings = settings_of(load(tmp_path, f'flow = "jwt_bearer"\nprivate_key_file = "{path}"\n'))
    assert (settings.subject, settings.scope, settings.token_url) == ("app@example.com", "", "")
    assert (
        settings_of(load(tmp_path, f'flow = "jwt_bearer"\nprivate_key_file = "{path}"\nsubject = "b"\n')).subject == "b"
    )


def test_reload_with_the_same_table(tmp_path: Path) -> None:
    """A reload that changes nothing leaves the relay alone, and with it the token in memory."""
    assert load(tmp_path, MICROSOFT).relays == load(tmp_path, MICROSOFT).relays
    assert load(tmp_path, MICROSOFT).relays != load(tmp_path, MICROSOFT.replace("echo x", "echo y")).relays


def test_no_secret_is_described(tmp_path: Path) -> None:
    """The effective configuration shows places only, and can be read again."""
    loaded = load(tmp_path, MICROSOFT.replace("echo x", "echo se-cr-et"))
    assert "Secret" not in repr(loaded)
    described = config.describe(config.read(loaded.path))
    assert 'client_secret_command = "echo se-cr-et"' in described
    (tmp_path / "again.toml").write_text(described)
    assert config.describe(config.read(str(tmp_path / "again.toml"))) == described


def test_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the start says what to install, and the libraries are not touched."""
    monkeypatch.setattr(tokens, "find_spec", lambda _name: None)
    importing = builtins.__import__

    def no_libraries(name: str, *rest: Any) -> Any:
        assert name not in ("httpx", "authlib")
        return importing(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_libraries)
    with pytest.raises(
        ConfigurationError, match=r"needs the packages authlib and httpx.*pip install 'maildrop\[oauth\]'"
    ):
        load(tmp_path, MICROSOFT)


# Refresh tokens


def test_a_new_refresh_token_replaces_the_old_one(tmp_path: Path) -> None:
    """It is written whole, for the daemon's user alone, also through a link and over what a crash left behind."""
    place = refresh_token(tmp_path / "token")
    (tmp_path / ".token.tmp").write_text("half a tok")
    before = place.stamp()
    assert place.store(Secret("second")) == ""
    assert place.read() == Secret("second")
    assert place.stamp() != before
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "token")
    assert Place(what="refresh_token", kind="file", value=str(tmp_path / "link"), hint="").store(Secret("third")) == ""
    assert place.read() == Secret("third")
    assert (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "token"]


def test_the_old_refresh_token_stays_until_the_new_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the old one is still there, and why the new one is not is told."""
    place = refresh_token(tmp_path / "token")

    def full(_descriptor: int, _octets: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert "No space left on device" in place.store(Secret("second"))
    monkeypatch.undo()
    assert place.read() == Secret("first")
    assert os.listdir(tmp_path) == ["token"]


def test_places_that_take_no_token() -> None:
    """A credential, a command and a variable can't be written to."""
    for kind in ("credential", "command", "env"):
        place = Place(what="refresh_token", kind=kind, value="x", hint="")
        assert place.store(Secret("new")) == place.unwritable() == f"refresh_token_{kind} can't be written to"


REFRESH = 'flow = "refresh_token"\ntenant = "example.com"\nclient_id = "c"\n'


def test_what_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh token that could not be replaced is told of at the start; one that can is not."""
    path = tmp_path / "token"
    refresh_token(path)
    assert load(tmp_path, f'{REFRESH}refresh_token_file = "{path}"\n').notices == ()
    assert load(tmp_path, MICROSOFT).notices == ()
    monkeypatch.setenv("REFRESH", "x")
    ((relay, what),) = load(tmp_path, f'{REFRESH}refresh_token_env = "REFRESH"\n').notices
    assert relay == "main"
    assert what.endswith("would be lost with the next restart: refresh_token_env can't be written to")
    monkeypatch.setattr(os, "access", lambda *_: False)
    ((_, what),) = load(tmp_path, f'{REFRESH}refresh_token_file = "{path}"\n').notices
    assert what.endswith(f"the daemon may not write to {tmp_path}")


def test_a_public_client_needs_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's application may have no secret of its own."""
    monkeypatch.setenv("REFRESH", "x")
    assert settings_of(load(tmp_path, f'{REFRESH}refresh_token_env = "REFRESH"\n')).client_secret is None
    more = f'{REFRESH}refresh_token_env = "REFRESH"\nclient_secret_command = "echo y"\n'
    assert settings_of(load(tmp_path, more)).client_secret is not None
