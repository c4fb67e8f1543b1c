"""The ``[dkim]`` table: where the key comes from, what becomes of it, and what is needed for it."""

from __future__ import annotations

import importlib.util
from base64 import b64encode
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from maildrop import config
from maildrop.errors import ConfigurationError
from maildrop.mail import dkim

KEY = b64encode(bytes(range(32))).decode()
REST = '[spool]\npath = "/s"\n[relays.main]\nhost = "h"\n'


@pytest.fixture
def write(tmp_path: Path) -> Path:
    """Return where the configuration is written."""
    return tmp_path / "maildropd.toml"


def problems(path: Path, text: str) -> list[str]:
    """Return what is wrong, without the file's name."""
    path.write_text(REST + text, "utf-8")
    with pytest.raises(ConfigurationError) as refusal:
        config.load(str(path))
    assert refusal.value.exit_code == 78
    return [str(problem).removeprefix(f"{path}: ") for problem in refusal.value.problems]


@pytest.mark.parametrize("place", ["credential", "file", "command", "env"])
def test_the_key_from_each_place(place: str, write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential, a file, a command and the environment give the same signer; a PEM keeps all its lines."""
    pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
    pem += "-----END PRIVATE KEY-----\n"
    file = write.with_name("dkim.pem")
    file.write_text(pem)
    file.chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(write.parent))
    monkeypatch.setenv("DKIM_KEY", pem)
    value = {"credential": "dkim.pem", "file": file, "command": f"cat {file}", "env": "DKIM_KEY"}[place]
    write.write_text(
        f'{REST}[dkim]\nselector = "mail"\ndomains = ["Example.COM", "faß.example"]\nkey_{place} = "{value}"\n', "utf-8"
    )
    signer = config.load(str(write)).mailing.signer
    assert signer is not None
    assert (signer.selector, signer.domains) == ("mail", frozenset(["example.com", "xn--fa-hia.example"]))
    assert signer.key.splitlines() == pem.splitlines()
    assert config.load_signer(str(write)) == signer
    assert "MC4CAQAw" not in repr(config.load(str(write)))


def test_without_secrets_the_key_is_not_read(write: Path) -> None:
    """Commands that need no key don't ask for it; the domains are judged all the same."""
    table = '[dkim]\nselector = "mail"\nkey_command = "false"\ndomains = '
    write.write_text(f'{REST}{table}"example.com"\n', "utf-8")
    assert config.load(str(write), secrets=False).mailing.signer is None
    write.write_text(f'{REST}{table}"example"\n', "utf-8")
    assert config.load(str(write), secrets=False).mailing.signer is None
    write.write_text(f'{REST}{table}"example..com"\n', "utf-8")
    with pytest.raises(ConfigurationError, match=r"'example\.\.com' is not a domain"):
        config.load(str(write), secrets=False)


def test_no_table_no_signer(write: Path) -> None:
    """Nobody signs unless it is said."""
    write.write_text(REST, "utf-8")
    assert config.load(str(write)).mailing.signer is None
    assert config.load_signer(str(write)) is None


def test_a_signer_alone_needs_no_password(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants the signer is not asked for a relay's password; what is wrong with the key is said."""
    monkeypatch.delenv("RELAY_PASSWORD", raising=False)
    text = f'{REST}auth = {{user = "me", password_env = "RELAY_PASSWORD"}}\n'
    text += '[dkim]\nselector = "mail"\ndomains = "example.com"\nkey_env = "DKIM_KEY"\n'
    write.write_text(text, "utf-8")
    monkeypatch.setenv("DKIM_KEY", KEY)
    assert config.load_signer(str(write)) is not None
    monkeypatch.delenv("DKIM_KEY")
    with pytest.raises(ConfigurationError, match=r"dkim\.key_env: the environment has no DKIM_KEY"):
        config.load_signer(str(write))


def test_the_extra_is_missing(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table whose package is not installed stops the start, with the line that installs it."""
    monkeypatch.setattr(dkim, "find_spec", lambda _name: None)
    found = problems(write, '[dkim]\nselector = "mail"\ndomains = "example.com"\nkey_env = "DKIM_KEY"\n')
    assert found == ["dkim: signing needs the package dkimpy, which is not installed; pip install 'maildrop[dkim]'"]


def test_text_from_html_needs_its_extra(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``defaults.text_from_html`` arrives, and without its package stops the start."""
    write.write_text(f"{REST}[defaults]\ntext_from_html = true\n", "utf-8")
    assert config.load(str(write)).mailing.defaults.text_from_html
    write.write_text(REST, "utf-8")
    assert not config.load(str(write)).mailing.defaults.text_from_html
    real = importlib.util.find_spec

    def without(name: str) -> ModuleSpec | None:
        return None if name == "inscriptis" else real(name)

    monkeypatch.setattr(config, "find_spec", without)
    assert problems(write, "[defaults]\ntext_from_html = true\n") == [
        "defaults.text_from_html: needs the package inscriptis, which is not installed; pip install 'maildrop[html]'"
    ]


@pytest.mark.parametrize("selector", ["", "a b", "a..b", ".a", "a.", "ü", "a;b", "-a", "a" * 64, "a\\nb", "a=b"])
def test_what_is_no_selector(selector: str, write: Path) -> None:
    """A selector becomes part of a tag and of a name in the DNS: anything else is refused."""
    found = problems(write, f'[dkim]\nselector = "{selector}"\ndomains = "example.com"\nkey_env = "DKIM_KEY"\n')
    assert len(found) == 1
    assert found[0].startswith("dkim.selector: is not a selector")


def test_the_table_is_described(write: Path) -> None:
    """``maildropd config`` shows where the key comes from, and the description means the same."""
    text = '[dkim]\nselector = "mail"\ndomains = "example.com"\nkey_command = "cat k"\n'
    write.write_text(REST + text, "utf-8")
    document = config.read(str(write))
    told = config.describe(document)
    assert 'key_command = "cat k"  # program that prints it; no shell' in told
    assert "# key_file = …" in told
    write.write_text(told, "utf-8")
    assert config.read(str(write)) == document
