"""``check`` and ``explain`` beside the running daemon, against a server of another make."""

from __future__ import annotations

import json
from collections.abc import Callable
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


@pytest.fixture
def relay(tmp_path: Path) -> dict[str, Any]:
    """Return the settings of a relay that wants a password."""
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    return {
        "tls": "starttls",
        "ca_file": str(tmp_path / "ca.pem"),
        "auth": {"user": USER, "password_file": str(tmp_path / "password")},
    }


def test_check_beside_the_daemon(spool_factory: Make, daemon: Start, relay: dict[str, Any], tmp_path: Path) -> None:
    """All is fine while the daemon runs; a wrong password is 78; nobody gets a mail, and no secret is shown."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = SecureServer(authority, tmp_path, name="127.0.0.1", without="LOGIN")
    try:
        spool = spool_factory(server.port, relay=relay)
        running = daemon(spool).wait_started()
        fine = spool.command("check")
        (tmp_path / "password").write_text("Tr0ub4dor&3")
        wrong = json.loads(spool.command("check", "--json", code=78).stdout)
        running.stop()
    finally:
        server.close()
    assert f"ok    daemon       runs, pid {running.pid}\n" in fine.stdout
    assert f"ok    auth         PLAIN as {USER}\n" in fine.stdout
    assert "ok    quit " in fine.stdout
    assert wrong["findings"][-1]["step"] == "auth"
    assert "535" in wrong["findings"][-1]["what"]
    assert server.mails == []
    assert "Tr0ub4dor" not in json.dumps(wrong)
    assert PASSWORD not in fine.stdout


def test_a_held_relay_is_told(spool_factory: Make, daemon: Start) -> None:
    """What the daemon holds is told by ``check``, and ``explain`` says that the job waits for it."""
    spool = spool_factory(free_port())
    running = daemon(spool).wait_started()
    spool.drop("job")
    running.wait_event("relay.held")

    def is_told() -> bool:
        relays = json.loads(spool.command("status", "--json").stdout)["relays"]
        return any(one["state"] == "held" for one in relays)

    wait_for(is_told, "the daemon has posted that the relay is held")
    checked = spool.command("check", code=69)
    explained = json.loads(spool.command("explain", "job", "--json").stdout)
    running.stop()
    assert "warn  daemon       the daemon has it as held until " in checked.stdout
    assert "Connection refused" in checked.stdout
    assert (explained["state"], explained["next"]) == ("active", "waits for relay sink, which is held")
