"""What the running daemon tells the command on the same machine: one small file beside its lock.

It is a convenience: never synced, never read by the daemon itself, and without meaning once the daemon is gone. Only
the daemon's user and root can read it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from maildrop.spool import durable
from maildrop.spool.layout import Spool, State

_NAME = ".bulletin.json"
_MAX_OCTETS = 1024 * 1024


def post(spool: Spool, news: Mapping[str, Any]) -> None:
    """Replace the bulletin; trouble of the disk is of no consequence."""
    with contextlib.suppress(OSError):
        durable.write_atomically(spool.folder(State.ACTIVE), _NAME, json.dumps(news).encode(), sync=False)


def read(spool: Spool) -> dict[str, Any]:
    """Return what the daemon posted last, or nothing."""
    try:
        descriptor = os.open(_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=spool.folder(State.ACTIVE))
    except OSError:
        return {}
    try:
        news = json.loads(os.read(descriptor, _MAX_OCTETS))
    except (OSError, ValueError):
        return {}
    finally:
        os.close(descriptor)
    return news if isinstance(news, dict) else {}
