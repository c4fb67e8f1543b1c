"""Where passwords come from, that they are read again when they were refused, and never show themselves."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import stat
import traceback
from pathlib import Path

import pytest

from maildrop import config
from maildrop.config import secrets
from maildrop.config.auth_table import AuthTable
from maildrop.config.secrets import SecretError, password_of
from maildrop.delivery.relay import Relay
from maildrop.errors import ConfigurationError
from maildrop.smtp import Credentials, CredentialsSource, CredentialsUnavailable, SessionFailed, Stage
from maildrop.smtp.steps import Fault

PASSWORD = "hunter2-and-more"


def auth(**places: object) -> AuthTable:
    """Make the table of a relay's user."""
    return AuthTable.model_validate({"user": "me", **places})


def file(path: Path, content: bytes = PASSWORD.encode(), mode: int = 0o600) -> str:
    """Write a password file."""
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_from_a_file(tmp_path: Path) -> None:
    """A file's only line, with or without its end."""
    for end in (b"", b"\n", b"\r\n", b"\n\n"):
        assert password_of(auth(password_file=file(tmp_path / "p", PASSWORD.encode() + end))).reveal() == PASSWORD


def test_blanks_belong_to_the_password(tmp_path: Path) -> None:
    """Only the line end is taken off."""
    assert password_of(auth(password_file=file(tmp_path / "p", b" a b \n"))).reveal() == " a b "


def test_from_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential is read from systemd's folder, whose modes are systemd's affair."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    file(tmp_path / "relay-main", mode=0o440)
    assert password_of(auth(password_credential="relay-main")).reveal() == PASSWORD


def test_a_credential_stays_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential's name can't lead out of systemd's folder."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    file(tmp_path / "elsewhere")
    with pytest.raises(SecretError, match="No such file"):
        password_of(auth(password_credential="../elsewhere"))


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable's value."""
    monkeypatch.setenv("RELAY_PASSWORD", PASSWORD)
    assert password_of(auth(password_env="RELAY_PASSWORD")).reveal() == PASSWORD


@pytest.mark.parametrize("command", [f"printf %s '{PASSWORD}'", ["printf", "%s\\n", PASSWORD]])
def test_from_a_command(command: object) -> None:
    """A program's output; text is split like a command line, a list is taken as it is."""
    assert password_of(auth(password_command=command)).reveal() == PASSWORD


def test_no_shell_is_involved(tmp_path: Path) -> None:
    """What a shell would expand is an argument like any other."""
    assert password_of(auth(password_command=f"echo $HOME; touch {tmp_path}/x")).reveal().startswith("$HOME;")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("table", "key", "words"),
    [
        ({}, "password_…", "found none of them"),
        ({"password_env": "A", "password_file": "/b"}, "password_…", "found password_file and password_env"),
        ({"password_credential": "x"}, "password_credential", "not started by systemd"),
        ({"password_file": "/nowhere"}, "password_file", "No such file"),
        ({"password_file": "/dev/null"}, "password_file", "is not a regular file"),
        ({"password_file": "/"}, "password_file", "Is a directory"),
        ({"password_env": "NOT_THERE"}, "password_env", "the environment has no NOT_THERE"),
        ({"password_command": "false"}, "password_command", "it exited with 1"),
        ({"password_command": "/nowhere/at/all"}, "password_command", "can't run it"),
        ({"password_command": "true"}, "password_command", "the password is empty"),
        ({"password_command": ["printf", "a\\000b"]}, "password_command", "holds a NUL"),
        ({"password_command": ["echo", "a\0b"]}, "password_command", "can't run it"),
    ],
)
def test_what_can_go_wrong(table: dict[str, object], key: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place that can't give a password says why, at its own key, with a way out."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SecretError) as error:
        password_of(auth(**table))
    assert error.value.key == key
    assert words in str(error.value)
    assert error.value.hint


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    """A password that group or others may read is no secret, and the mending command is told."""
    path = file(tmp_path / "p", mode=mode)
    with pytest.raises(SecretError, match=rf"can be read by others \(mode {mode:04o}\)") as error:
        password_of(auth(password_file=path))
    assert error.value.hint == f"chmod 600 {path}"


def test_a_fifo_does_not_hang_the_start(tmp_path: Path) -> None:
    """A pipe where a file should be is refused at once."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with pytest.raises(SecretError, match="is not a regular file"):
        password_of(auth(password_file=str(tmp_path / "pipe")))


def test_a_command_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that says nothing does not hang the start for ever."""
    monkeypatch.setattr(secrets, "_COMMAND_SECONDS", 0.01)
    with pytest.raises(SecretError, match="no answer within"):
        password_of(auth(password_command="sleep 60"))


def test_a_secret_never_shows_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the configuration's repr, nor describe, nor copies, nor errors contain the password."""
    monkeypatch.setenv("RELAY_PASSWORD", PASSWORD)
    path = tmp_path / "maildropd.toml"
    good = ('[spool]\npath = "/s"\n[relays.main]\nhost = "h"\n'
            '[relays.main.auth]\nuser = "me"\npassword_env = "RELAY_PASSWORD"\n')  # fmt: skip
    path.write_text(good, "utf-8")
    loaded = config.load(str(path))
    source = loaded.relays["main"].credentials
    assert source is not None
    credentials = asyncio.run(source.credentials())
    assert credentials.password is not None
    assert credentials.password.reveal() == PASSWORD
    for shown in (repr(loaded), str(loaded), f"{credentials}", config.describe(config.read(str(path)))):
        assert PASSWORD not in shown
    for keep in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            keep(credentials)


def test_an_error_never_shows_a_secret(tmp_path: Path) -> None:
    """A password written where it does not belong is not repeated in the words about it."""
    path = tmp_path / "maildropd.toml"
    path.write_text(
        f'[spool]\npath = "/s"\n[relays.main]\nhost = "h"\n[relays.main.auth]\nuser = ["{PASSWORD}"]\n'
        f'password = "{PASSWORD}"\npassword_file = 5\nplaintext = "{PASSWORD}"\n', "utf-8",
    )  # fmt: skip
    with pytest.raises(ConfigurationError) as error:
        config.load(str(path))
    told = "".join(traceback.format_exception(error.value))
    assert "password: unknown key" in told
    assert PASSWORD not in told


def source_of(path: Path, secret: str) -> CredentialsSource:
    """Load a configuration whose password lies in a file."""
    path.joinpath("maildropd.toml").write_text(
        f'[spool]\npath = "/s"\n[relays.main]\nhost = "h"\n[relays.main.auth]\nuser = "me"\npassword_{secret}\n'
    )
    source = config.load(str(path / "maildropd.toml")).relays["main"].credentials
    assert source is not None
    return source


def password_from(source: CredentialsSource) -> str:
    """Return the password that the next session would use."""
    password = asyncio.run(source.credentials()).password
    assert password is not None
    return password.reveal()


def test_a_password_is_read_again_when_it_was_refused(tmp_path: Path) -> None:
    """A password that works is not looked for again; a refused one is, and a new file is noticed at once."""
    path = tmp_path / "p"
    source = source_of(tmp_path, f'file = "{file(path)}"')
    file(path, b"new one")
    assert password_from(source) == PASSWORD
    assert not source.changed()
    assert source.refused(asyncio.run(source.credentials()))  # another one lies there already
    assert source.changed()
    assert password_from(source) == "new one"
    assert not source.changed()
    assert not source.refused(asyncio.run(source.credentials()))
    assert not source.changed()
    path.write_bytes(b"third")
    assert source.changed()
    assert password_from(source) == "third"


def test_a_password_that_others_replaced(tmp_path: Path) -> None:
    """A session that was late with the old password is told that there is a newer one."""
    source = source_of(tmp_path, f'file = "{file(tmp_path / "p")}"')
    old = asyncio.run(source.credentials())
    file(tmp_path / "p", b"new")
    source.refused(old)
    password_from(source)
    assert source.refused(old)
    assert not source.changed()


def test_a_refused_password_that_has_gone(tmp_path: Path) -> None:
    """A file that can't be read when it is needed is a fault of the configuration, until it is there again."""
    path = tmp_path / "p"
    source = source_of(tmp_path, f'file = "{file(path)}"')
    source.refused(asyncio.run(source.credentials()))
    path.unlink()
    with pytest.raises(CredentialsUnavailable, match=r"password_file: .*No such file.*; make the file") as error:
        asyncio.run(source.credentials())
    assert error.value.configuration
    assert not source.changed()
    file(path, b"here again")
    assert source.changed()
    assert password_from(source) == "here again"


def test_a_command_is_run_again_once_for_all(tmp_path: Path) -> None:
    """After a refusal the program is asked again, once for all sessions that wait; nothing tells of a change before."""
    count = tmp_path / "count"
    source = source_of(tmp_path, f"""command = ["sh", "-c", "echo x >> {count}; cat {count} | wc -l"]""")
    assert password_from(source) == password_from(source) == "1"
    assert not source.refused(asyncio.run(source.credentials()))
    assert not source.changed()

    async def many() -> list[Credentials]:
        return await asyncio.gather(*(source.credentials() for _ in range(10)))

    assert {str(one.password and one.password.reveal()) for one in asyncio.run(many())} == {"2"}


def test_a_credential_has_a_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential is a file in systemd's folder: its replacement is seen, too."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    file(tmp_path / "relay-main")
    source = source_of(tmp_path, 'credential = "relay-main"')
    source.refused(asyncio.run(source.credentials()))
    assert not source.changed()
    file(tmp_path / "relay-main", b"new")
    assert source.changed()


def test_a_reload_sees_what_changed(tmp_path: Path) -> None:
    """Sources are equal if place and password are: then the sessions of the relay may stay."""
    secret = f'file = "{file(tmp_path / "p")}"'
    before = source_of(tmp_path, secret)
    assert source_of(tmp_path, secret) == before
    assert hash(source_of(tmp_path, secret)) == hash(before)
    file(tmp_path / "p", b"another")
    assert source_of(tmp_path, secret) != before
    others: object = "another type"
    assert before != others


def test_a_replaced_password_ends_the_hold(tmp_path: Path) -> None:
    """A relay that refuses a password is probed as soon as the file is another one, and not before."""
    source_of(tmp_path, f'file = "{file(tmp_path / "p")}"')
    relay = Relay(config.load(str(tmp_path / "maildropd.toml")).relays["main"])
    source = relay.settings.credentials
    assert source is not None
    relay.look_at_secret(10.0)  # nothing is wrong
    source.refused(asyncio.run(source.credentials()))
    fault = Fault(stage=Stage.AUTH, what="refused: 535 no", configuration=True)
    assert relay.hold(SessionFailed("main", fault), now=10.0) == 600.0
    relay.look_at_secret(20.0)
    assert not relay.free(20.0)
    file(tmp_path / "p", b"another")
    relay.look_at_secret(30.0)
    assert relay.free(30.0)
    assert password_from(source) == "another"
