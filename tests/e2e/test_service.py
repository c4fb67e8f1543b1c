"""The daemon as a service: signals, one owner, systemd's messages, ``--once``."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.servers import free_port
from tests.e2e.spools import environment
from tests.e2e.waiting import wait_for

if TYPE_CHECKING:
    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

    Start = Callable[..., Daemon]
    Serve = Callable[..., ScriptedServer]
    Make = Callable[..., SpoolFolder]


# SIGTERM


def test_sigterm_finishes_the_transaction(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """What is on the wire is finished and recorded, what waits stays where it is for the next start; exit code 0.

    The second job may be on the wire by then, behind the first one's message, or about to be.
    """
    server = scripted_server({". *": ["stall"]})
    spool = spool_factory(server.port, relay={"connections": 1})
    running = daemon(spool).wait_started()
    spool.drop("first")
    server.wait_said(". first")
    spool.drop("second")
    wait_for(lambda: "second" in spool.names("active"), "the second job is claimed")
    running.signal(signal.SIGTERM)
    assert running.wait_event("daemon.stopping")["on_the_wire"] in (1, 2)
    spool.drop("third")
    server.let_go()
    assert running.wait() == 0
    result = spool.answered("first")
    assert (result["outcome"], result["possible_duplicate"]) == ("sent", False)
    where = spool.where()
    assert where == {"first": ["sent"], "second": where["second"], "third": ["incoming"]}
    assert where["second"] in (["active"], ["sent"])
    assert server.lines[-1] == "QUIT"
    daemon(spool).wait_started()
    spool.wait_settled(["second", "third"])
    assert server.jobs() == {"first": 1, "second": 1, "third": 1}


def test_second_sigterm_exits_at_once(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """Asked twice it does not wait for the wire; the doubt that this leaves is flagged at the next start."""
    server = scripted_server({". *": ["stall"]})
    spool = spool_factory(server.port)
    running = daemon(spool).wait_started()
    spool.drop("stuck")
    server.wait_said(". stuck")
    running.signal(signal.SIGTERM)
    running.wait_event("daemon.stopping")
    began = time.monotonic()
    running.signal(signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 2.0
    server.let_go()
    again = daemon(spool).wait_started()
    spool.wait_settled(["stuck"])
    assert spool.answered("stuck")["possible_duplicate"] is True
    again.wait_event("job.doubt", job="stuck")


def test_sigterm_when_idle(spool_factory: Make, daemon: Start) -> None:
    """With nothing to do it ends at once, with 0, and lets go of the spool."""
    spool = spool_factory(free_port())
    running = daemon(spool).wait_started()
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 5.0
    assert daemon(spool, "--once").wait() == 0


# SIGHUP


def test_sighup(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A good configuration is in force at once; a bad one changes nothing and every problem is told."""
    old, new = scripted_server(), scripted_server()
    spool = spool_factory(old.port)
    running = daemon(spool).wait_started()
    spool.drop("before")
    spool.wait_settled(["before"])
    spool.configure(new.port)
    running.signal(signal.SIGHUP)
    running.wait_event("config.reloaded")
    spool.drop("after")
    spool.wait_settled(["after"])
    assert (old.jobs(), new.jobs()) == ({"before": 1}, {"after": 1})
    spool.configure(old.port, relay={"tsl": "none", "connections": 0})
    running.signal(signal.SIGHUP)
    problems = running.wait_event("config.refused")["problems"]
    assert len(problems) == 2
    assert any("relays.sink.tsl" in problem and "did you mean 'tls'" in problem for problem in problems)
    spool.drop("still")
    spool.wait_settled(["still"])
    assert new.jobs() == {"after": 1, "still": 1}
    assert running.stop() == 0


def test_sighup_frees_a_held_relay(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """Jobs that wait for a relay that is not there go to the one of the new configuration."""
    spool = spool_factory(free_port())
    running = daemon(spool).wait_started()
    names = [f"job-{number}" for number in range(5)]
    for name in names:
        spool.drop(name)
    running.wait_event("relay.held")
    server = scripted_server()
    spool.configure(server.port)
    running.signal(signal.SIGHUP)
    spool.wait_settled(names)
    assert server.jobs() == dict.fromkeys(names, 1)


def test_sighup_during_a_transaction(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """The transaction under way comes to its end as if nothing had been."""
    server = scripted_server({". *": ["stall"]})
    spool = spool_factory(server.port)
    running = daemon(spool).wait_started()
    spool.drop("long")
    server.wait_said(". long")
    spool.configure(server.port, relay={"connections": 3})
    running.signal(signal.SIGHUP)
    running.wait_event("config.reloaded")
    server.let_go()
    spool.wait_settled(["long"])
    assert spool.answered("long")["possible_duplicate"] is False
    assert server.jobs() == {"long": 1}
    spool.drop("next")
    spool.wait_settled(["next"])


# One owner


def test_second_daemon(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A second daemon on the same spool ends with 75 within a second and names the pid of the first."""
    server = scripted_server()
    spool = spool_factory(server.port)
    running = daemon(spool).wait_started()
    seconds = []
    for _ in range(3):  # the quickest counts: the machine may be busy
        began = time.monotonic()
        second = spool.command("run", code=75, env=environment(traced=False))
        seconds.append(time.monotonic() - began)
        assert str(running.pid) in second.stderr
        assert second.stdout == ""
    assert min(seconds) < 1.0
    spool.drop("unharmed")
    spool.wait_settled(["unharmed"])
    running.kill()
    daemon(spool).wait_started()  # a dead owner leaves no lock


# run --once


@pytest.mark.parametrize(
    ("drops", "code"),
    [
        ({}, 0),
        ({"good": "sent"}, 0),
        ({"good": "sent", "refused": "failed"}, 65),
        ({"good": "sent", "busy": "deferred"}, 75),
        ({"busy": "deferred", "refused": "failed", "good": "sent"}, 65),
    ],
    ids=["nothing", "sent", "failed", "deferred", "failed and deferred"],
)
def test_once(*, spool_factory: Make, daemon: Start, scripted_server: Serve, drops: dict[str, str], code: int) -> None:
    """0 if all is sent, 65 if something failed, 75 if something waits; 65 wins; what is settling is waited for."""
    server = scripted_server({"RCPT TO:<refused@*": ["550 5.1.1 no"], "RCPT TO:<busy@*": ["450 4.2.1 later"]})
    spool = spool_factory(server.port, intake={"quiet_seconds": 0.5})
    for name in drops:
        spool.drop(name)
    running = daemon(spool, "--once")
    assert running.wait() == code
    assert spool.where() == {name: [state] for name, state in drops.items()}


def test_once_with_a_relay_that_is_down(spool_factory: Make, daemon: Start) -> None:
    """It does not wait for a held relay: 75, and nothing is counted against the job."""
    spool = spool_factory(free_port(), intake={"quiet_seconds": 0.2})
    spool.drop("waits")
    running = daemon(spool, "--once")
    assert running.wait() == 75
    assert running.found("daemon.stopped")[0]["waiting"] == 1
    assert not (spool.path / "active" / "waits" / "result.toml").exists()


def test_once_with_an_incomplete_drop(spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """What is not complete is left where it is: 75."""
    spool = spool_factory(scripted_server().port, intake={"quiet_seconds": 0.2})
    (spool.path / "incoming" / "empty").mkdir()
    assert daemon(spool, "--once").wait() == 75
    assert spool.where() == {"empty": ["incoming"]}


# systemd


class NotifySocket:
    """What systemd would hear."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while message := self._socket.recv(65536).decode():
            self.heard.append((time.monotonic(), message))

    def said(self, start: str) -> list[float]:
        """Return when messages that begin so were heard."""
        return [at for at, message in list(self.heard) if message.startswith(start)]

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as farewell:
            farewell.sendto(b"", self.path)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def notify_socket() -> Iterator[NotifySocket]:
    """Listen where systemd would; a short path, for a socket's may have 107 octets."""
    with tempfile.TemporaryDirectory(prefix="notify-") as folder:
        listener = NotifySocket(Path(folder))
        yield listener
        listener.close()


def test_notify(spool_factory: Make, daemon: Start, scripted_server: Serve, notify_socket: NotifySocket) -> None:
    """READY once the spool is owned, STATUS with the counts, RELOADING and READY at SIGHUP, STOPPING at the end."""
    server = scripted_server({"RCPT TO:<refused@*": ["550 5.1.1 no"]})
    spool = spool_factory(server.port)
    running = daemon(spool, NOTIFY_SOCKET=notify_socket.path)
    wait_for(lambda: notify_socket.said("READY=1"), "READY")
    assert spool.command("run", code=75).returncode == 75  # READY means that the spool is ours
    for name in ("one", "two", "refused"):
        spool.drop(name)
    wait_for(
        lambda: any(
            "2 sent, 1 failed" in message for _, message in notify_socket.heard if message.startswith("STATUS")
        ),
        "STATUS tells the counts",
    )
    running.wait_started()
    running.signal(signal.SIGHUP)
    wait_for(lambda: len(notify_socket.said("READY=1")) == 2, "READY after the reload")
    (reloading,) = notify_socket.said("RELOADING=1\nMONOTONIC_USEC=")
    assert notify_socket.said("READY=1")[0] < reloading < notify_socket.said("READY=1")[1]
    running.signal(signal.SIGTERM)
    assert running.wait() == 0
    wait_for(lambda: notify_socket.said("STOPPING=1"), "STOPPING")


def test_notify_status_names_a_held_relay(spool_factory: Make, daemon: Start, notify_socket: NotifySocket) -> None:
    """STATUS says which relay is held and why."""
    spool = spool_factory(free_port())
    daemon(spool, NOTIFY_SOCKET=notify_socket.path)
    spool.drop("waits")
    wait_for(
        lambda: any("sink held (connect" in message for _, message in notify_socket.heard), "STATUS names the relay"
    )


def test_watchdog(spool_factory: Make, daemon: Start, notify_socket: NotifySocket) -> None:
    """The watchdog is fed at least twice in its period, also where the rescan is rarer; never by a stopped daemon."""
    period = 2.0
    spool = spool_factory(free_port(), intake={"rescan_seconds": "1h"})
    running = daemon(spool, NOTIFY_SOCKET=notify_socket.path, WATCHDOG_USEC=str(int(period * 1_000_000)))
    wait_for(lambda: len(notify_socket.said("WATCHDOG=1")) >= 4, "the watchdog is fed four times")
    times = notify_socket.said("WATCHDOG=1")
    assert max(later - earlier for earlier, later in pairwise(times)) < period
    os.kill(running.pid, signal.SIGSTOP)
    try:
        fed = len(notify_socket.said("WATCHDOG=1"))
        time.sleep(period)  # what is shown is that nothing comes
        assert len(notify_socket.said("WATCHDOG=1")) == fed
    finally:
        os.kill(running.pid, signal.SIGCONT)


def test_deaf_notify_socket(spool_factory: Make, daemon: Start, scripted_server: Serve, tmp_path: Path) -> None:
    """A notify socket that nobody reads, or that is gone, does not keep mails from being sent."""
    server = scripted_server()
    spool = spool_factory(server.port)
    daemon(spool, NOTIFY_SOCKET=str(tmp_path / "nobody"))
    spool.drop("one")
    spool.wait_settled(["one"])
