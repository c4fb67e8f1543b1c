"""What a daemon that ended left in ``active/``: put in order before anything is sent, as the package's table says."""

from __future__ import annotations

import os

from maildrop.errors import printable
from maildrop.spool import durable
from maildrop.spool.claim import is_half_claimed
from maildrop.spool.job import Job
from maildrop.spool.layout import Spool, State


def recover(spool: Spool) -> list[str]:
    """Put in order what a daemon that ended left in active, as the package's table says; return a sentence for each.

    Jobs that stay were never sent, or are in doubt (``Job.doubt``). One that can't be opened is named and left.
    """
    done = []
    for name in sorted(os.listdir(spool.folder(State.ACTIVE))):
        if name.startswith("."):
            continue
        try:
            what = _recover(spool, name)
        except OSError as error:
            if durable.is_local_trouble(error):
                raise
            what = f"can't be put in order: {error.strerror}; make it writable for maildropd, or move it away"
        if what:
            done.append(f"active/{printable(name)}: {what}")
    return done


def _recover(spool: Spool, name: str) -> str:
    with Job.open(spool, State.ACTIVE, name) as job:
        if is_half_claimed(job.folder.descriptor):
            os.rmdir(name, dir_fd=spool.folder(State.ACTIVE))
            return "removed: an empty folder made for a file that is still in incoming"
        return job.put_in_order()
