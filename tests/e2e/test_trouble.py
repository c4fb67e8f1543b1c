"""Trouble that is no job's fault: sessions that die, servers that hang, descriptors that run out, folders moved."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.e2e.servers import free_port
from tests.e2e.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

    Start = Callable[..., Daemon]
    Serve = Callable[..., ScriptedServer]
    Make = Callable[..., SpoolFolder]


@pytest.mark.parametrize("answer", ["drop", "421 4.4.2 idle too long"])
def test_stale_session(*, spool_factory: Make, daemon: Start, scripted_server: Serve, answer: str) -> None:
    """A kept session that is dead when MAIL is said is replaced at once: no attempt, no interruption, no delay."""
    server = scripted_server({"MAIL *": ["250 2.1.0 Ok", answer]})
    spool = spool_factory(server.port)
    running = daemon(spool).wait_started()
    for name in ("first", "second"):
        spool.drop(name)
        spool.wait_settled([name])
    result = spool.answered("second")
    assert len(result["attempts"]) == 1
    assert result["possible_duplicate"] is False
    assert server.said("CONNECT") == 2
    assert running.found("relay.held") == []


def test_server_that_hangs(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A server that never answers the final dot is left after its timeout; the doubt is flagged, others are sent."""
    server = scripted_server({". hangs": ["stall"]})
    spool = spool_factory(server.port, relay={"timeouts": {"data_end": 1.0}}, retry={"schedule": [0.5], "jitter": 0})
    running = daemon(spool).wait_started()
    spool.drop("hangs")
    server.wait_said(". hangs")
    spool.drop("passes")
    spool.wait_settled(["passes", "hangs"])
    assert spool.answered("hangs")["possible_duplicate"] is True
    assert spool.answered("passes")["possible_duplicate"] is False
    running.wait_event("job.doubt", job="hangs")


def test_message_that_breaks_sessions(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A message whose sessions all die waits like a deferral after five, and does not keep others from the relay."""
    server = scripted_server({"RCPT TO:<poison*": ["drop"] * 5})
    spool = spool_factory(server.port, relay={"connections": 1}, retry={"schedule": [1], "jitter": 0})
    running = daemon(spool).wait_started()
    spool.drop("poison")
    spool.drop("healthy")
    spool.wait_settled(["poison", "healthy"])
    assert len(running.found("job.interrupted", job="poison")) == 4
    assert len(running.found("job.deferred", job="poison")) == 1
    assert [one["result"] for one in spool.answered("poison")["attempts"]] == [
        "delivered 0, deferred 1, rejected 0",
        "delivered 1, deferred 0, rejected 0",
    ]
    assert spool.answered("poison")["possible_duplicate"] is False
    assert running.found("job.doubt") == []


def test_a_thousand_recipients(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A job for 1,000 recipients goes in ten transactions, each recipient once, in one attempt."""
    server = scripted_server()
    spool = spool_factory(server.port)
    daemon(spool).wait_started()
    everybody = [f"c{number}@example.org" for number in range(1000)]
    spool.drop("many", to=everybody)
    spool.wait_settled(["many"])
    result = spool.answered("many")
    assert [len(mail.recipients) for mail in server.accepted] == [100] * 10
    assert sorted(path for mail in server.accepted for path in mail.recipients) == sorted(everybody)
    assert len(result["attempts"]) == 1
    assert {one["status"] for one in result["recipients"]} == {"delivered"}
    assert len({one["queue_id"] for one in result["recipients"]}) == 10


def test_second_relay(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """While the first relay of the route is down the second one takes the mails; nothing is counted against a job."""
    server = scripted_server()
    spool = spool_factory(free_port(), relays={"spare": {"host": "127.0.0.1", "port": server.port, "tls": "none"}})
    running = daemon(spool).wait_started()
    names = [f"job-{number}" for number in range(20)]
    for name in names:
        spool.drop(name)
    spool.wait_settled(names)
    for name in names:
        result = spool.answered(name)
        assert [one["relay"] for one in result["attempts"]] == ["spare"]
        assert result["recipients"][0]["relay"] == "spare"
    assert len(running.found("relay.held", relay="sink")) == 1


def test_routes(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """One job whose recipients have different routes goes to both relays, each gets its own; one result for all."""
    inside, outside = scripted_server(), scripted_server()
    spool = spool_factory(
        outside.port,
        relays={"inside": {"host": "127.0.0.1", "port": inside.port, "tls": "none"}},
        routes=[{"recipient": "*@corp.example", "relays": ["inside"]}, {"relays": ["sink"]}],
    )
    daemon(spool).wait_started()
    spool.drop("both", to=["a@corp.example", "b@example.org", "c@corp.example"])
    spool.wait_settled(["both"])
    result = spool.answered("both")
    assert inside.accepted[0].recipients == ("a@corp.example", "c@corp.example")
    assert outside.accepted[0].recipients == ("b@example.org",)
    assert [one["relay"] for one in result["recipients"]] == ["inside", "sink", "inside"]
    assert result["possible_duplicate"] is False


def test_few_descriptors(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """Out of descriptors it pauses, says so, blames no job, and gets all of them sent."""
    server = scripted_server(reply_seconds=0.01)
    spool = spool_factory(server.port, relay={"connections": 20})
    names = [f"job-{number:03}" for number in range(50)]
    running = daemon(spool, prefix=("prlimit", "--nofile=48")).wait_started()
    for name in names:
        spool.drop(name)
    spool.wait_settled(names)
    assert "Too many open files" in running.found("daemon.paused")[0]["why"]
    assert spool.names("failed") == spool.names("deferred") == set()
    assert server.jobs() == dict.fromkeys(names, 1)
    for name in names:
        assert len(spool.answered(name)["attempts"]) == 1


def test_incoming_is_replaced(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A folder incoming/ that was moved away and made anew, or removed, is watched again within a rescan."""
    server = scripted_server()
    spool = spool_factory(server.port, intake={"rescan_seconds": 1})
    daemon(spool).wait_started()
    incoming = spool.path / "incoming"
    incoming.rename(spool.folder / "moved-away")
    incoming.mkdir(exist_ok=True)  # the daemon may have been quicker
    spool.drop("first")
    spool.wait_settled(["first"])
    shutil.rmtree(incoming)
    wait_for(incoming.is_dir, "incoming/ is made again")
    spool.drop("second")
    spool.wait_settled(["second"])
    assert server.jobs() == {"first": 1, "second": 1}


def test_same_name_again_and_again(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """Jobs of one name are all sent; each keeps a folder of its own, numbered where the name is taken."""
    server = scripted_server()
    spool = spool_factory(server.port)
    daemon(spool).wait_started()
    for _ in range(5):
        spool.drop("report")
        wait_for(lambda: "report" not in spool.names("incoming"), "it is claimed")
    wait_for(lambda: len(spool.names("sent")) == 5, "five jobs in sent/")
    names = spool.names("sent")
    assert {"report", "report.2"} <= names
    assert all(name.startswith("report") for name in names)
    assert len(server.accepted) == 5
    assert len({spool.answered(name)["message_id"] for name in names}) == 5


def test_job_that_is_written_to_after_the_claim(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A producer that goes on writing while its mail is on the wire: what was checked is sent, or the job fails."""
    server = scripted_server({"MAIL *": ["stall"]})
    spool = spool_factory(server.port)
    daemon(spool).wait_started()
    attachment = b"0123456789abcdef" * 65536
    files = {"envelope.toml": 'from = "a@example.com"\nto = "b@example.org"\n', "body.txt": "see file\n"}
    folder = spool.build("busy", files | {"attachments/data.bin": attachment})
    with (folder / "attachments" / "data.bin").open("r+b") as file:
        folder.rename(spool.path / "incoming" / "busy")
        server.wait_said("MAIL *")
        file.write(b"changed!")
        file.flush()
        server.let_go()
        spool.wait_settled(["busy"], "failed")
    assert "changed" in spool.result("busy", "failed")["reason"]
    assert server.accepted == []


def test_soft_limit_of_descriptors(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """The usual soft limit does not count: the daemon takes what the hard limit allows."""
    server = scripted_server()
    spool = spool_factory(server.port, relay={"connections": 20})
    names = [f"job-{number:03}" for number in range(100)]
    running = daemon(spool, prefix=("prlimit", "--nofile=48:4096")).wait_started()
    for name in names:
        spool.drop(name)
    spool.wait_settled(names)
    assert running.found("daemon.paused") == []
