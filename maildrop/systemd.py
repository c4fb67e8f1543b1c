"""What systemd is told: READY, RELOADING, STOPPING, STATUS, WATCHDOG (the only user of sdnotify; sd_notify(3)).

Never blocks and never raises: with a full notify socket a message is dropped. Outside systemd every call does nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from types import TracebackType
from typing import Self

import sdnotify

from maildrop.errors import printable

_STATUS_OCTETS = 400  # `systemctl status` shows one line


class Systemd:
    """The notify socket of this process; made once, at the start."""

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        """Read the socket and the watchdog's period, and keep NOTIFY_SOCKET from child processes."""
        environment = os.environ if environment is None else environment
        self._notifier: sdnotify.SystemdNotifier | None = None
        if environment.get("NOTIFY_SOCKET"):
            os.environ.setdefault("NOTIFY_SOCKET", environment["NOTIFY_SOCKET"])
            self._notifier = sdnotify.SystemdNotifier()
            if self._notifier.socket is not None:
                self._notifier.socket.settimeout(0)  # a full queue would block for ever otherwise
            os.environ.pop("NOTIFY_SOCKET", None)
            environment.pop("NOTIFY_SOCKET", None)
        self.watchdog_seconds = self._watchdog_seconds(environment)
        self._status = ""

    def _watchdog_seconds(self, environment: MutableMapping[str, str]) -> float | None:
        """Return how often to call ``watchdog()``: half the unit's WatchdogSec, if it is meant for this process."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        pid = environment.get("WATCHDOG_PID", str(os.getpid()))
        if self._notifier is None or not microseconds.isdecimal() or pid != str(os.getpid()):
            return None
        return int(microseconds) / 2_000_000 or None

    def ready(self) -> None:
        """Say that the spool is locked, checked and recovered, or that a reload is done."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that SIGHUP arrived; ``ready`` must follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the stop has begun."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Say that work makes progress; call it after a completed scan, never from a timer alone."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show one line in ``systemctl status``; the same text is sent only once."""
        line = printable(text, limit=_STATUS_OCTETS).encode("ascii", "replace").decode("ascii")[:_STATUS_OCTETS]
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def close(self) -> None:
        """Let go of the socket; nothing is said from now on."""
        notifier, self._notifier = self._notifier, None
        if notifier is not None and notifier.socket is not None:
            notifier.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, message: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(message)  # swallows its own errors, a would-block among them
