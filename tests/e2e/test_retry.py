"""``maildropd retry`` beside a running daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

    Start = Callable[..., Daemon]
    Serve = Callable[..., ScriptedServer]
    Make = Callable[..., SpoolFolder]

RESCAN_SECONDS = 1.0
NOTICED_SECONDS = RESCAN_SECONDS + 5.0  # a rescan, and time for a busy machine
SETTINGS = {"intake": {"rescan_seconds": RESCAN_SECONDS}, "retry": {"schedule": ["1h"]}}
TWO = ["alice@example.org", "bob@example.org"]


@pytest.mark.parametrize(("reply", "state"), [("550 5.1.1 no such user", "failed"), ("450 4.2.1 busy", "deferred")])
def test_retry_while_the_daemon_runs(
    *, spool_factory: Make, daemon: Start, scripted_server: Serve, reply: str, state: str
) -> None:
    """The job is sent again within a rescan, only to who has not got it, as the same mail."""
    server = scripted_server({"RCPT TO:<bob*": [reply]})
    spool = spool_factory(server.port, **SETTINGS)
    daemon(spool).wait_started()
    spool.drop("again", to=TWO)
    spool.wait_settled(["again"], state)
    done = spool.command("retry", "again")
    assert "again" in done.stdout
    spool.wait_settled(["again"], seconds=NOTICED_SECONDS)
    result = spool.answered("again")
    assert (result["outcome"], result["possible_duplicate"]) == ("sent", False)
    assert [one["status"] for one in result["recipients"]] == ["delivered"] * 2
    assert len(result["attempts"]) == 2
    assert [mail.recipients for mail in server.accepted] == [("alice@example.org",), ("bob@example.org",)]
    assert server.accepted[0].octets == server.accepted[1].octets
    assert spool.where() == {"again": ["sent"]}


def test_retry_that_fails_again(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A job that is refused twice is in failed/ again, with both attempts, and can be tried a third time."""
    server = scripted_server({"RCPT TO:<bob*": ["550 5.1.1 no such user"] * 2})
    spool = spool_factory(server.port, **SETTINGS)
    running = daemon(spool).wait_started()
    spool.drop("stubborn", to="bob@example.org")
    spool.wait_settled(["stubborn"], "failed")
    spool.command("retry", "stubborn")
    running.wait_event("job.failed", attempts=2, seconds=NOTICED_SECONDS)
    assert len(spool.result("stubborn", "failed")["attempts"]) == 2
    spool.command("retry", "--all")
    spool.wait_settled(["stubborn"], seconds=NOTICED_SECONDS)
    assert server.jobs() == {"stubborn": 1}


def test_retry_of_a_mended_job(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """An invalid job whose envelope a person has corrected is sent."""
    server = scripted_server()
    spool = spool_factory(server.port, **SETTINGS)
    daemon(spool).wait_started()
    spool.drop("mended", subjct="a typing error")
    spool.wait_settled(["mended"], "failed")
    path = spool.path / "failed" / "mended" / "envelope.toml"
    path.write_text(path.read_text().replace("subjct = ", "# subjct = "))
    spool.command("retry", "mended")
    spool.wait_settled(["mended"], seconds=NOTICED_SECONDS)
    result = spool.answered("mended")
    assert result["outcome"] == "sent"
    assert "problems" not in result
    assert server.jobs() == {"mended": 1}


@pytest.mark.parametrize(("reply", "state"), [("550 5.1.1 no such user", "failed"), ("450 4.2.1 busy", "deferred")])
def test_retry_without_a_daemon(
    *, spool_factory: Make, daemon: Start, scripted_server: Serve, reply: str, state: str
) -> None:
    """Ordered while nothing runs, it is sent at the next start."""
    server = scripted_server({"RCPT TO:<bob*": [reply]})
    spool = spool_factory(server.port, **SETTINGS)
    spool.drop("later", to=TWO)
    assert daemon(spool, "--once").wait() in (65, 75)
    assert spool.where() == {"later": [state]}
    spool.command("retry", "later")
    assert daemon(spool, "--once").wait() == 0
    assert spool.where() == {"later": ["sent"]}
    assert len(server.accepted) == 2


def test_retry_of_what_can_not_be_tried_again(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A sent job and an unknown name are refused with 64 and the next step, and nothing is moved."""
    spool = spool_factory(scripted_server().port)
    daemon(spool).wait_started()
    spool.drop("done")
    spool.wait_settled(["done"])
    assert "is sent" in spool.command("retry", "done", code=64).stderr
    assert "dnoe" in spool.command("retry", "dnoe", code=64).stderr
    assert spool.where() == {"done": ["sent"]}


def test_deferred_jobs_survive_a_restart(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A job that is due while the daemon is down is sent at its next start."""
    server = scripted_server({"RCPT *": ["450 4.2.1 busy"]})
    spool = spool_factory(server.port, retry={"schedule": [1], "jitter": 0})
    running = daemon(spool).wait_started()
    spool.drop("waits")
    running.wait_event("job.deferred")
    running.kill()
    assert spool.where() == {"waits": ["deferred"]}
    daemon(spool).wait_started()
    spool.wait_settled(["waits"])
    assert len(spool.answered("waits")["attempts"]) == 2


def test_give_up(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A job that is deferred until its time is over fails as expired; the last reply is in the reason."""
    server = scripted_server({"RCPT *": ["450 4.2.1 busy"] * 100})
    spool = spool_factory(server.port, retry={"schedule": [0.3], "give_up": 1.0, "jitter": 0})
    daemon(spool).wait_started()
    spool.drop("tired")
    spool.wait_settled(["tired"], "failed")
    result = spool.result("tired", "failed")
    assert result["outcome"] == "expired"
    assert "450 4.2.1 busy" in result["reason"]
    assert server.accepted == []


def test_not_before_and_expires(spool_factory: Make, daemon: Start) -> None:
    """A job waits for its time in deferred/; one whose time is over while its relay is down expires uncounted."""
    spool = spool_factory(free_port())
    running = daemon(spool).wait_started()
    spool.drop("early", not_before="1h")
    running.wait_event("job.deferred", job="early", attempts=0)
    assert spool.where() == {"early": ["deferred"]}
    spool.drop("late", expires="2s")
    spool.wait_settled(["late"], "failed")
    result = spool.result("late", "failed")
    assert result["outcome"] == "expired"
    assert result.get("attempts", []) == []
