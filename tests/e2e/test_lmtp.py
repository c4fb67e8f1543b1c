"""LMTP from the drop to the mailbox: an answer for each recipient, each of which counts by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.lmtp_server import LmtpServer
from tests.e2e.waiting import wait_for

if TYPE_CHECKING:
    from tests.e2e.daemons import Daemon
    from tests.e2e.spools import SpoolFolder

A, B, C = "a@example.org", "b@example.org", "c@example.org"
SOON = {"retry": {"schedule": ["0.2s"], "jitter": 0}}
Start = Callable[..., LmtpServer]


@pytest.fixture(params=["socket", "tcp"])
def lmtp(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a server, over a unix socket and then over TCP."""
    started: list[LmtpServer] = []

    def start(**replies: Any) -> LmtpServer:
        path = tmp_path / f"lmtp-{len(started)}" if request.param == "socket" else None
        started.append(LmtpServer(path, {f"{name}@example.org": said for name, said in replies.items()}))
        return started[-1]

    yield start
    for server in started:
        server.close()


def relay(server: LmtpServer) -> dict[str, Any]:
    """Return the tables that make the server the only relay."""
    return {"relays": {"sink": {"protocol": "lmtp", **server.place}}, "settle": {"transcript": "always"}}


def statuses(result: dict[str, Any]) -> dict[str, str]:
    """Return what became of each recipient."""
    return {one["address"]: one["status"] for one in result["recipients"]}


def test_mixed_replies(spool_factory: Callable[..., SpoolFolder], daemon: Callable[..., Daemon], lmtp: Start) -> None:
    """One mailbox takes it, one is full for now, one does not exist: each has its own answer; the job is partial."""
    server = lmtp(b=["452 4.2.2 full"], c=["550 5.1.1 nobody"])
    spool = spool_factory(0, **relay(server), **SOON)
    running = daemon(spool).wait_started()
    spool.drop("mixed", to=[A, B, C])
    spool.wait_settled(["mixed"], "failed")
    assert running.stop() == 0
    result = spool.result("mixed", "failed")
    assert result["outcome"] == "partial"
    assert statuses(result) == {A: "delivered", B: "delivered", C: "rejected"}
    assert server.delivered == {A: 1, B: 1}
    assert server.greeted[0] == "LHLO"
    assert set(server.greeted) == {"LHLO"}
    assert [one["result"] for one in result["attempts"]] == [
        "delivered 1, deferred 1, rejected 1", "delivered 1, deferred 0, rejected 0",
    ]  # fmt: skip
    place = server.place.get("socket") or f"127.0.0.1 [127.0.0.1]:{server.place['port']}"
    assert result["attempts"][0]["peer"] == place
    assert result["possible_duplicate"] is False


@pytest.mark.parametrize("policy", ["resend", "hold"])
def test_a_line_lost_after_some_replies(
    spool_factory: Callable[..., SpoolFolder], daemon: Callable[..., Daemon], lmtp: Start, policy: str
) -> None:
    """The answers that came count; the others are in doubt, and only they are sent again, or held."""
    state, attempts = ("sent", 2) if policy == "resend" else ("failed", 1)
    server = lmtp(b=["drop"])
    spool = spool_factory(0, **relay(server), **SOON)
    running = daemon(spool).wait_started()
    spool.drop("cut", to=[A, B, C], in_doubt=policy)
    spool.wait_settled(["cut"], state)
    assert running.stop() == 0
    result = spool.result("cut", state)
    expected = "delivered" if policy == "resend" else "in-doubt"
    assert statuses(result) == {A: "delivered", B: expected, C: expected}
    assert server.delivered == ({A: 1, B: 1, C: 1} if policy == "resend" else {A: 1})
    assert len(result["attempts"]) == attempts
    assert result["possible_duplicate"] is (policy == "resend")
    assert len(running.found("job.doubt")) == 1


@pytest.mark.parametrize("replies", [0, 1, 2, 3])
def test_killed_among_the_replies(
    spool_factory: Callable[..., SpoolFolder], daemon: Callable[..., Daemon], lmtp: Start, replies: int
) -> None:
    """Killed before the first, between two, or right behind the last answer: nobody goes without the mail."""
    server = lmtp()
    spool = spool_factory(0, **relay(server), **SOON)
    running = daemon(spool).wait_started()
    killed: list[int] = []

    def kill(number: int) -> None:
        if number == replies and not killed:
            killed.append(running.pid)
            running.process.kill()

    server.before_reply = kill
    spool.drop("victim", to=[A, B, C])
    wait_for(lambda: running.process.poll() is not None, "the daemon is dead")
    running.killed = True
    again = daemon(spool).wait_started()
    spool.wait_settled(["victim"])
    assert again.stop() == 0
    result = spool.result("victim")
    assert set(statuses(result).values()) == {"delivered"}
    assert all(1 <= server.delivered[path] <= 2 for path in (A, B, C))
    twice = any(server.delivered[path] > 1 for path in (A, B, C))
    assert result["possible_duplicate"] is True or not twice
