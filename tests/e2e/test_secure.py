"""STARTTLS and AUTH against a server of another make (aiosmtpd), with a certificate of our own (trustme)."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.e2e.secure_server import PASSWORD, USER, SecureServer
from tests.e2e.servers import free_port
from tests.e2e.waiting import wait_for

if TYPE_CHECKING:
    from tests.e2e.daemons import Daemon
    from tests.e2e.spools import SpoolFolder

    Start = Callable[..., Daemon]
    Make = Callable[..., SpoolFolder]

WRONG = "Tr0ub4dor&3"


@pytest.fixture
def authority() -> trustme.CA:
    """Return who signs the certificates."""
    return trustme.CA()


@pytest.fixture
def secure_server(authority: trustme.CA, tmp_path: Path) -> Iterator[Callable[..., SecureServer]]:
    """Return a function that starts the server."""
    started: list[SecureServer] = []

    def start(*, name: str = "127.0.0.1", without: str = "LOGIN") -> SecureServer:
        started.append(SecureServer(authority, tmp_path, name=name, without=without))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def settings(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    """Return the relay's settings; the password lies in a file."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return {
        "tls": "starttls",
        "ca_file": str(tmp_path / "ca.pem"),
        "auth": {"user": USER, "password_file": write_secret(tmp_path / "password", PASSWORD)},
    }


def write_secret(path: Path, text: str) -> str:
    """Write a secret as a person would: a line, readable by the owner alone."""
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return str(path)


def spellings(password: str) -> list[bytes]:
    """Return what a password looks like on its way."""
    plain = base64.b64encode(f"\0{USER}\0{password}".encode())
    return [password.encode(), base64.b64encode(password.encode()), plain]


def everything_written(spool: SpoolFolder, *daemons: Daemon) -> bytes:
    """Return all that daemon and command have written, but for the files that hold the secrets."""
    parts = [one.output.encode() for one in daemons]
    parts += [path.read_bytes() for path in spool.path.rglob("*") if path.is_file()]
    for words in (["status"], ["status", "--json"], ["list"], ["config"]):
        done = spool.command(*words)
        parts.append((done.stdout + done.stderr).encode())
    return b"\n".join(parts)


@pytest.mark.parametrize(("mechanism", "without"), [("PLAIN", "LOGIN"), ("LOGIN", "PLAIN")])
def test_starttls_and_auth(
    *,
    spool_factory: Make,
    daemon: Start,
    secure_server: Callable[..., SecureServer],
    settings: dict[str, Any],
    mechanism: str,
    without: str,
) -> None:
    """The mail goes through TLS after AUTH; the result names protocol and cipher, the password is nowhere."""
    server = secure_server(without=without)
    spool = spool_factory(server.port, relay=settings, settle={"transcript": "always"}, log={"level": "debug"})
    running = daemon(spool).wait_started()
    spool.drop("secret")
    spool.wait_settled(["secret"])
    result = spool.answered("secret")
    assert result["attempts"][0]["tls"].startswith("TLSv1.")
    assert result["recipients"][0]["queue_id"] == "4F2x"
    assert server.mechanisms == [mechanism]
    assert server.mails == [["secret@example.org"]]
    assert running.stop() == 0
    written = everything_written(spool, running)
    assert b"AUTH " + mechanism.encode() in written  # the dialog is kept, with stars for the secret
    assert [one for one in spellings(PASSWORD) if one in written] == []


def test_wrong_password(
    *,
    spool_factory: Make,
    daemon: Start,
    secure_server: Callable[..., SecureServer],
    settings: dict[str, Any],
    tmp_path: Path,
) -> None:
    """The configuration is at fault: the relay is held, said loudly, no job fails; mended, SIGHUP sends them."""
    server = secure_server()
    settings["auth"]["password_file"] = write_secret(tmp_path / "wrong", WRONG)
    spool = spool_factory(server.port, relay=settings, settle={"transcript": "always"}, log={"level": "debug"})
    running = daemon(spool).wait_started()
    names = [f"job-{number}" for number in range(5)]
    for name in names:
        spool.drop(name)
    held = running.wait_event("relay.held", stage="auth")
    assert held["seconds"] >= 60  # many tries would lock the account
    assert "535" in held["why"]
    assert "password" in held["hint"]
    wait_for(lambda: set(names) <= spool.names("active") | spool.names("incoming"), "the jobs wait")
    status = spool.command("status").stdout
    assert "held" in status
    tries = len(server.mechanisms)
    assert tries <= 8  # at most one for each session that was on its way
    assert [one for one in spellings(WRONG) if one in everything_written(spool, running)] == []
    write_secret(tmp_path / "wrong", PASSWORD)
    running.signal(signal.SIGHUP)
    spool.wait_settled(names)
    assert spool.names("failed") == spool.names("deferred") == set()
    for name in names:
        assert len(spool.answered(name)["attempts"]) == 1
    assert len(server.mechanisms) > tries


@pytest.mark.parametrize("fault", ["name", "authority"])
def test_certificate_that_is_not_valid(
    *,
    spool_factory: Make,
    daemon: Start,
    secure_server: Callable[..., SecureServer],
    settings: dict[str, Any],
    tmp_path: Path,
    fault: str,
) -> None:
    """A certificate for another name or of an unknown authority: the relay is held and never sees the password."""
    server = secure_server(name="other.example" if fault == "name" else "127.0.0.1")
    if fault == "authority":
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    spool = spool_factory(server.port, relay=settings)
    running = daemon(spool).wait_started()
    spool.drop("careful")
    held = running.wait_event("relay.held", stage="tls")
    assert "certificate" in held["why"].lower()
    assert "ca_file" in held["hint"]
    assert spool.where() == {"careful": ["active"]}
    assert server.mechanisms == []
    assert server.mails == []


def test_secret_that_others_can_read(spool_factory: Make, settings: dict[str, Any], tmp_path: Path) -> None:
    """A password file that others can read stops the start with the command that mends it."""
    spool = spool_factory(free_port(), relay=settings)
    os.chmod(tmp_path / "password", 0o644)
    stderr = spool.command("run", code=78).stderr
    assert "password_file" in stderr
    assert "chmod 600" in stderr
    assert PASSWORD not in stderr
