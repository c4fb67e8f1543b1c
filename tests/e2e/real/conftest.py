"""Fixtures of the tests with real mail servers: each is started once, when a test first wants it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import trustme

from tests.e2e.daemons import Daemon
from tests.e2e.real.dovecot import Dovecot, start_dovecot
from tests.e2e.real.exim import start_exim
from tests.e2e.real.mailbox import SinkDumps
from tests.e2e.real.opensmtpd import start_opensmtpd
from tests.e2e.real.postfix import Postfix, start_postfix
from tests.e2e.real.servers import RealServer
from tests.e2e.real.system import BUILD, FETCH, System
from tests.e2e.real.trips import Branches, PostOffice
from tests.e2e.servers import SmtpSink
from tests.e2e.spools import SpoolFolder


def _unpack() -> str:
    """Fetch the packages unless they are there; return what is missing for that."""
    if os.geteuid() != 0:
        return "mail servers are run in a system of their own by chroot(8), which takes root: sudo make test"
    done = subprocess.run(
        [FETCH, BUILD / "root"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=300, check=False
    )
    return done.stderr.strip() or f"{FETCH} failed ({done.returncode})" if done.returncode else ""


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """Return the system that the servers run in; its folder is kept if a test failed."""
    if missing := _unpack():
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    failed_before = request.session.testsfailed
    made = System(trustme.CA())
    yield made
    has_failed = request.session.testsfailed > failed_before
    if has_failed:
        sys.stdout.write(f"the servers' folders: {made.root}\n{made.logs()}\n")
    made.close(keep=has_failed)


@pytest.fixture(scope="session")
def dovecot(system: System) -> Dovecot:
    """Return Dovecot, running."""
    return start_dovecot(system)


@pytest.fixture(scope="session")
def postfix(system: System, dovecot: Dovecot) -> Postfix:  # noqa: ARG001  # who Postfix asks about passwords
    """Return Postfix, running."""
    return start_postfix(system)


@pytest.fixture(scope="session")
def exim(system: System) -> RealServer:
    """Return Exim, running."""
    return start_exim(system)


@pytest.fixture(scope="session")
def opensmtpd(system: System) -> RealServer:
    """Return OpenSMTPD, running."""
    return start_opensmtpd(system)


@pytest.fixture(scope="session")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """Return Postfix's smtp-sink, running."""
    started = SmtpSink(tmp_path_factory.mktemp("sink"))
    yield RealServer(
        name="smtp-sink",
        relay={"host": "127.0.0.1", "port": started.port, "tls": "none"},
        mailbox=SinkDumps(started),
        extensions=frozenset({"8BITMIME"}),
        choosy=False,
    )
    started.close()


@pytest.fixture(params=["postfix", "bare-postfix", "exim", "opensmtpd", "smtp-sink", "dovecot-tcp", "dovecot-socket"])
def server(request: pytest.FixtureRequest) -> RealServer:
    """Return each server in turn; Dovecot speaks LMTP, the others SMTP."""
    match request.param:
        case "postfix":
            found: RealServer = request.getfixturevalue("postfix").secure
        case "bare-postfix":
            found = request.getfixturevalue("postfix").bare
        case "smtp-sink":
            found = request.getfixturevalue("sink")
        case "dovecot-tcp":
            found = request.getfixturevalue("dovecot").tcp
        case "dovecot-socket":
            found = request.getfixturevalue("dovecot").socket
        case other:
            found = request.getfixturevalue(other)
    return found


@pytest.fixture(scope="session")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Branches]:
    """Return spools with daemons that the tests share, one for each server."""
    opened = Branches(lambda: tmp_path_factory.mktemp("branch"))
    yield opened
    opened.close()


@pytest.fixture
def post_office(spool_factory: Callable[..., SpoolFolder], daemon: Callable[..., Daemon]) -> PostOffice:
    """Return who opens spools with a daemon that sends to a real server."""
    return PostOffice(spool_factory, daemon)
