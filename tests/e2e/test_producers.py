"""Producers are other users: what they drop is claimed, and the answer is theirs to read."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.spools import envelope
from tests.e2e.waiting import DEADLINE_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

PRODUCER = 65534
# Root without capabilities is a user like any other: what the modes and ACLs forbid is forbidden.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as several users"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="apt-get install util-linux"),
]


def as_producer(spool: SpoolFolder, script: str) -> str:
    """Run a shell script in the spool, as another user whose umask hides everything; return what it prints."""
    done = subprocess.run(
        ["/bin/sh", "-euc", script],
        cwd=spool.path,  # entered before the user is changed: the folders above are closed to others
        user=PRODUCER,
        group=PRODUCER,
        extra_groups=[],
        umask=0o077,
        env={"PATH": "/usr/bin:/bin", "ENVELOPE": envelope("foreign")},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WRITE = 'mkdir {0} && printf %s "$ENVELOPE" >{0}/envelope.toml && echo "of another user" >{0}/body.txt'
WAYS = {
    "rename": WRITE.format("tmp/foreign") + " && mv tmp/foreign incoming/foreign",
    "marker": WRITE.format("incoming/foreign") + " && : >incoming/foreign/READY",
    "quiet": WRITE.format("incoming/foreign"),
    "private folder": WRITE.format("tmp/foreign") + " && chmod g-s tmp/foreign && mv tmp/foreign incoming/foreign",
}
EML = r"printf 'From: a@example.com\nTo: foreign@example.org\nX-Job: foreign\n\nhello\n' >tmp/f && "


@pytest.mark.parametrize("way", WAYS)
def test_job_of_another_user(
    *,
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
    way: str,
) -> None:
    """Made with umask 077 by another uid, a job is claimed by a daemon without privileges, and its result readable."""
    server = scripted_server()
    spool = spool_factory(server.port, intake={"quiet_seconds": 0.5})
    daemon(spool, prefix=UNPRIVILEGED).wait_started()
    as_producer(spool, WAYS[way])
    spool.wait_settled(["foreign"])
    spool.answered("foreign")
    assert 'outcome = "sent"' in as_producer(spool, "cat sent/foreign/result.toml")
    assert server.jobs() == {"foreign": 1}
    assert b"of another user" in server.accepted[0].octets


def test_bare_message_of_another_user(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
) -> None:
    """The folder that is made around a bare .eml lets its producer read the result."""
    server = scripted_server()
    spool = spool_factory(server.port)
    daemon(spool, prefix=UNPRIVILEGED).wait_started()
    as_producer(spool, EML + "mv tmp/f incoming/foreign.eml")
    spool.wait_settled(["foreign"])
    spool.answered("foreign")
    assert 'outcome = "sent"' in as_producer(spool, "cat sent/foreign/result.toml")


def test_failed_job_of_another_user(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
) -> None:
    """The producer of an invalid job can read why."""
    spool = spool_factory(scripted_server().port)
    daemon(spool, prefix=UNPRIVILEGED).wait_started()
    as_producer(spool, "mkdir tmp/wrong && echo 'subjct = 1' >tmp/wrong/envelope.toml && mv tmp/wrong incoming/wrong")
    spool.wait_settled(["wrong"], "failed")
    assert "subjct" in as_producer(spool, "cat failed/wrong/result.toml")


def test_job_that_can_not_be_claimed(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
) -> None:
    """Closed to the daemon, a job stays, is told once with the command that mends it, and is sent when it is mended."""
    server = scripted_server()
    spool = spool_factory(server.port, intake={"rescan_seconds": 0.5})
    running = daemon(spool, prefix=UNPRIVILEGED).wait_started()
    as_producer(spool, WRITE.format("tmp/foreign") + " && chmod 700 tmp/foreign && mv tmp/foreign incoming/foreign")
    notice = running.wait_event("intake.notice")
    assert "chmod -R g+rwX" in notice["what"]
    as_producer(spool, "mkdir tmp/other && echo x >tmp/other/envelope.toml && mv tmp/other incoming/other")
    spool.wait_settled(["other"], "failed")
    wait_for(lambda: spool.names("incoming") == {"foreign"}, "it is where it was")
    assert len(running.found("intake.notice")) == 1
    as_producer(spool, "chmod -R g+rwX incoming/foreign")
    spool.wait_settled(["foreign"])
    assert server.jobs() == {"foreign": 1}


def test_producers_can_not_touch_the_daemons_folders(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
) -> None:
    """A producer can neither read active/ nor write to sent/ or failed/, nor take another one's drop away."""
    server = scripted_server({". *": ["stall"]})
    spool = spool_factory(server.port)
    daemon(spool, prefix=UNPRIVILEGED).wait_started()
    spool.drop("mine")
    server.wait_said(". mine")
    (spool.path / "incoming" / "other").mkdir()
    for attempt in ("ls active", "mkdir sent/x", "touch failed/x", "rmdir incoming/other", "mv incoming/other tmp/x"):
        assert as_producer(spool, f"{attempt} 2>/dev/null || echo refused") == "refused\n", attempt
    server.let_go()
    spool.wait_settled(["mine"])
