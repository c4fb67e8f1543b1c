"""What systemd is told, on a notify socket of our own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maildrop.systemd import Systemd


@pytest.fixture
def notify_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of a notify socket to be; short, for socket paths are."""
    monkeypatch.chdir(tmp_path)
    return "notify"


@pytest.fixture
def manager(notify_path: str) -> Iterator[socket.socket]:
    """Be systemd: a datagram socket that hears what the daemon says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(notify_path)
        sock.settimeout(0)
        yield sock


def heard(manager: socket.socket) -> list[str]:
    """Return every datagram that has arrived."""
    messages = []
    while True:
        try:
            messages.append(manager.recv(65536).decode("ascii"))
        except BlockingIOError:
            return messages


def test_ready_stopping_and_watchdog(manager: socket.socket, notify_path: str) -> None:
    """The words of sd_notify(3), one datagram each."""
    with Systemd({"NOTIFY_SOCKET": notify_path}) as systemd:
        systemd.ready()
        systemd.watchdog()
        systemd.stopping()
        assert heard(manager) == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_reloading_carries_the_monotonic_time(manager: socket.socket, notify_path: str) -> None:
    """RELOADING and the time of the monotonic clock in microseconds travel in one datagram."""
    with Systemd({"NOTIFY_SOCKET": notify_path}) as systemd:
        before = time.monotonic_ns() // 1000
        systemd.reloading()
        after = time.monotonic_ns() // 1000
        (message,) = heard(manager)
        word, stamp = message.split("\n")
        assert word == "RELOADING=1"
        assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= after


def test_status_is_sent_once(manager: socket.socket, notify_path: str) -> None:
    """The same text again is not sent again."""
    with Systemd({"NOTIFY_SOCKET": notify_path}) as systemd:
        for text in ("1 on the wire", "1 on the wire", "2 on the wire"):
            systemd.status(text)
        assert heard(manager) == ["STATUS=1 on the wire", "STATUS=2 on the wire"]


@pytest.mark.parametrize(
    "text", ["a\nREADY=1", "a\rb", "Müller \u2028 \u202e", "\x1b[2J", "x" * 5000, "\udcff", "a\0b", "🙂"]
)
def test_status_is_one_line_of_ascii(text: str, manager: socket.socket, notify_path: str) -> None:
    """Whatever a server or a producer wrote, the status is one short line of printable ASCII."""
    with Systemd({"NOTIFY_SOCKET": notify_path}) as systemd:
        systemd.status(text)
    (message,) = heard(manager)
    assert message.startswith("STATUS=")
    assert message.isascii()
    assert message.isprintable()
    assert len(message) <= 407


def test_a_full_queue_does_not_block(manager: socket.socket, notify_path: str) -> None:
    """A service manager that reads nothing keeps nobody waiting: what does not fit is dropped."""
    with Systemd({"NOTIFY_SOCKET": notify_path}) as systemd:
        for number in range(5000):
            systemd.status(f"{number} jobs")
        messages = heard(manager)
        assert messages[0] == "STATUS=0 jobs"
        assert len(messages) < 5000


def test_an_abstract_socket_will_do() -> None:
    """A name with '@' in front is a socket without a file."""
    name = f"maildrop-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(0)
        with Systemd({"NOTIFY_SOCKET": f"@{name}"}) as systemd:
            systemd.ready()
        assert heard(manager) == ["READY=1"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sdnotify's own, unconnected socket
@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_systemd_nothing_happens(environment: dict[str, str]) -> None:
    """Outside of systemd, or with a socket that is gone, every call does nothing."""
    with Systemd(environment) as systemd:
        systemd.ready()
        systemd.reloading()
        systemd.status("x")
        systemd.watchdog()
        systemd.stopping()


def test_a_socket_that_goes_away_is_no_error(manager: socket.socket, notify_path: str) -> None:
    """A service manager that restarts does not hurt."""
    with Systemd({"NOTIFY_SOCKET": notify_path}) as systemd:
        manager.close()
        systemd.ready()


def test_child_processes_do_not_inherit_the_socket(
    manager: socket.socket, notify_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password command must not be able to speak for the daemon."""
    monkeypatch.setenv("NOTIFY_SOCKET", notify_path)
    with Systemd() as systemd:
        assert "NOTIFY_SOCKET" not in os.environ
        program = "import os; print(os.environ.get('NOTIFY_SOCKET'))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "None\n"
        systemd.ready()
        assert heard(manager) == ["READY=1"]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_watchdog_period(
    environment: dict[str, str], seconds: float | None, manager: socket.socket, notify_path: str
) -> None:
    """The watchdog is fed at half of its period, if it is meant for this process."""
    assert manager.fileno() >= 0
    with Systemd({"NOTIFY_SOCKET": notify_path, **environment}) as systemd:
        assert systemd.watchdog_seconds == seconds


def test_no_watchdog_without_a_socket() -> None:
    """Without a notify socket nobody can be told that work makes progress."""
    assert Systemd({"WATCHDOG_USEC": "30000000"}).watchdog_seconds is None


def test_after_the_end_nothing_is_said(manager: socket.socket, notify_path: str) -> None:
    """A closed notifier is silent."""
    systemd = Systemd({"NOTIFY_SOCKET": notify_path})
    systemd.close()
    systemd.ready()
    assert heard(manager) == []
