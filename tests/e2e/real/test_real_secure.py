"""STARTTLS and AUTH at a real Postfix, whose passwords a real Dovecot judges."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real.dovecot import MECHANISMS
from tests.e2e.real.postfix import Postfix
from tests.e2e.real.servers import PASSWORD, PEOPLE, USER
from tests.e2e.real.trips import PostOffice, assert_arrived, job_for, rendered

METHOD = r"sasl_method=([A-Z0-9-]+)"
FAILURE = r"SASL ([A-Z0-9-]+) authentication failed"


@pytest.mark.parametrize("mechanism", ["", *MECHANISMS])
def test_mechanism(postfix: Postfix, post_office: PostOffice, mechanism: str) -> None:
    """Each mechanism lets us in with a password beyond ASCII; left to itself the daemon takes SCRAM."""
    server = postfix.secure
    auth: dict[str, Any] = dict(server.relay["auth"])
    if mechanism:
        auth["mechanisms"] = [mechanism]
    before = len(server.logged(METHOD))
    spool, _ = post_office.open(server, {"auth": auth})
    name = f"mechanism-{mechanism or 'any'}".lower()
    spool.drop(name, job_for(name))
    spool.wait_settled([name])
    assert_arrived(server, name, rendered(spool, name), PEOPLE[:1])
    assert server.logged(METHOD)[before:] == [mechanism or "SCRAM-SHA-256"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_wrong_password(postfix: Postfix, post_office: PostOffice, tmp_path: Path, mechanism: str) -> None:
    """A wrong password holds the relay and fails no job; with the right one and SIGHUP all go."""
    server = postfix.secure
    secret = tmp_path / "password"
    secret.write_text("guessed\n")
    secret.chmod(0o600)
    auth = {"user": USER, "password_file": str(secret), "mechanisms": [mechanism]}
    before = len(server.logged(FAILURE))
    spool, running = post_office.open(server, {"auth": auth, "connections": 2})
    names = [f"wrong-{mechanism}-{number}".lower() for number in range(5)]
    for name in names:
        spool.drop(name, job_for(name))
    held = running.wait_event("relay.held", stage="auth")
    assert "535" in held["why"]
    assert set(names) <= spool.names("active") | spool.names("incoming")
    tries = server.logged(FAILURE)[before:]
    assert tries in ([mechanism], [mechanism] * 2)  # at most one for each connection that was on its way
    assert server.mailbox.arrivals(set(names)) == []
    secret.write_text(f"{PASSWORD}\n")
    running.signal(signal.SIGHUP)
    spool.wait_settled(names)
    for name in names:
        assert len(spool.answered(name)["attempts"]) == 1
    assert spool.names("failed") == spool.names("deferred") == set()
