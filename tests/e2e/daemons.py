"""The real daemon as a process: started, told by signals, killed; what it logs, as events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.spools import SpoolFolder, environment
from tests.e2e.waiting import DEADLINE_SECONDS, wait_for


class Daemon:
    """``maildropd run``; ``events`` are its log lines, ``noise`` whatever it wrote that is no event."""

    def __init__(
        self, spool: SpoolFolder, *options: str, prefix: Sequence[str] = (), traced: bool = True, **variables: str
    ) -> None:
        """Start it; ``prefix`` is a program to run it under, ``variables`` more environment."""
        self.events: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self.killed = False
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "maildrop", "run", "--config", str(spool.config), *options],
            env=environment(traced=traced, **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    self.noise.append(line.decode("utf-8", "replace"))
                else:
                    self.events.append(event)

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Return everything that it wrote."""
        return "\n".join([*map(json.dumps, self.events), *self.noise])

    def found(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of that name and with these fields."""
        return [
            event
            for event in list(self.events)
            if event.get("event") == name and all(event.get(key) == value for key, value in fields.items())
        ]

    def wait_event(self, name: str, *, seconds: float = DEADLINE_SECONDS, **fields: Any) -> dict[str, Any]:
        """Return the first such event as soon as it is logged."""

        def look() -> list[dict[str, Any]]:
            hits = self.found(name, **fields)
            if not hits and self.process.poll() is not None:
                self._reader.join(DEADLINE_SECONDS)
                hits = self.found(name, **fields)
                assert hits, f"the daemon ended ({self.process.returncode}) before {name} {fields}:\n{self.output}"
            return hits

        return wait_for(look, f"event {name} {fields}", seconds=seconds)[0]

    def wait_started(self) -> Daemon:
        """Return it when it owns the spool and has looked at it once."""
        self.wait_event("daemon.started")
        return self

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Return the exit code when it has ended, and all that it wrote was read."""
        code = self.process.wait(seconds)
        self._reader.join(DEADLINE_SECONDS)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ask it to end, and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self.killed = True
        self.process.kill()
        self.wait()

    def end(self) -> None:
        """Make sure that it is gone; for fixtures."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.wait(10.0)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join(DEADLINE_SECONDS)

    # Measured

    def peak_resident_kib(self) -> int:
        """Return the most memory it ever had, as the kernel counts (VmHWM)."""
        return self._status("VmHWM")

    def resident_kib(self) -> int:
        """Return the memory that it has now (VmRSS)."""
        return self._status("VmRSS")

    def _status(self, key: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))

    def cpu_seconds(self) -> float:
        """Return the processor time that it has had, of all threads, to the nanosecond."""
        tasks = f"/proc/{self.pid}/task"
        return sum(int(Path(tasks, task, "schedstat").read_text().split()[0]) for task in os.listdir(tasks)) / 1e9
