"""Kills whatever has a folder as its root as soon as standard input ends: however the tests end, no server is left.

Some servers leave children behind when they are told to end, and some forget by themselves that they were to die with
their parent. Run as ``python -m tests.e2e.real.guard FOLDER``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path


def processes_in(root: Path) -> list[int]:
    """Return the pids of the processes whose root directory is ``root`` or below."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and _is_in(name, root)]


def _is_in(pid: str, root: Path) -> bool:
    try:
        its_root = Path(os.readlink(f"/proc/{pid}/root"))
    except OSError:
        return False  # it has just ended
    return its_root.is_relative_to(root)  # many lock themselves up in an empty folder further down


def _main(root: Path) -> None:
    sys.stdin.read()
    while pids := processes_in(root):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
