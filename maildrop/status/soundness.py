"""Is a spool as it should be? Who may drop jobs, whether the daemon can claim them, and whether its disk will do.

Only looks: makes no folder, takes no lock, and needs no right but to see the modes of the folders; what a user may not
see is said. How the folders are meant to be is known to ``spool.founding``, which also mends them.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping

from maildrop.errors import MaildropError, printable
from maildrop.spool import bulletin, founding, volume
from maildrop.spool.founding import STAGING, State
from maildrop.spool.layout import Settling, Spool
from maildrop.spool.tree import OPEN_FOLDER
from maildrop.status.findings import CONFIGURATION, NOT_PERMITTED, TRY_LATER, Finding, failed, warned

_DROPS = (State.INCOMING.value, STAGING)  # where producers write
_ALL_OF_OWNER = 0o700


def inspect(path: str, *, volatile: bool, min_free: float) -> Iterator[Finding]:
    """Yield what there is to say about the spool at ``path``; ends early where nothing more can be seen."""
    shown = printable(path)
    try:
        real = os.path.realpath(path, strict=True)
        root = os.open(real, OPEN_FOLDER)
    except PermissionError:
        yield failed("folders", f"{shown} can't be entered by this user", _AS_WHOM, code=NOT_PERMITTED)
        return
    except OSError as error:
        yield failed(
            "folders", f"{shown}: {error.strerror}", f"make a spool: maildropd init {shown}", code=CONFIGURATION
        )
        return
    with Spool(real, root, volatile=volatile, layout=Settling.FLAT) as spool:
        if not founding.is_spool(root):
            hint = f"make a spool: maildropd init {shown}"
            yield failed("folders", f"{shown} is not a spool: it has none of the folders", hint, code=CONFIGURATION)
            return
        found = {name: _status(root, name) for name in founding.FOLDERS}
        there = {name: status for name, status in found.items() if status is not None}
        yield from _folders(spool, root, found)
        yield from _producers(real, os.fstat(root), there)
        yield from _claim(real, root, there)
        yield from _disk(spool, volatile=volatile, min_free=min_free)


_AS_WHOM = "run it as root or as the daemon's user"


def news_of(path: str, *, volatile: bool, layout: Settling) -> tuple[Finding, Mapping[str, object]]:
    """Return whether a daemon runs on a spool whose folders are all there, and what it posted last."""
    try:
        with Spool.open(path, volatile=volatile, layout=layout) as spool:
            pid, news = spool.owner(), bulletin.read(spool)
    except MaildropError:
        return Finding(step="daemon", what=f"can't be seen by this user; {_AS_WHOM}"), {}
    if pid is None:
        return Finding(step="daemon", what="does not run now"), {}
    if news.get("paused"):
        return warned("daemon", f"pauses: {printable(str(news['paused']))}"), news
    return Finding(step="daemon", what=f"runs, pid {pid}" if pid else "runs"), news


def _status(root: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _folders(spool: Spool, root: int, found: Mapping[str, os.stat_result | None]) -> Iterator[Finding]:
    """Yield what is wrong with the folders as such: missing, no folders, elsewhere, another's, open to others."""
    missing = [f"{name}/" for name, status in found.items() if status is None]
    if missing:
        yield warned(
            "folders", f"{', '.join(missing)} missing", "'maildropd run' and 'maildropd init' make what is missing"
        )
    active = found[State.ACTIVE]
    daemon = os.fstat(root).st_uid if active is None else active.st_uid
    faults = 0
    for name, status in found.items():
        if status is not None and (fault := _fault(spool, name, status, daemon)) is not None:
            faults += 1
            yield fault
    if not missing and not faults:
        kind = f" ({spool.filesystem})" if spool.filesystem else ""
        what = f"{len(found)} folders of user {user_name(daemon)} on one filesystem{kind}, modes as they should be"
        yield Finding(step="folders", what=what)


def _fault(spool: Spool, name: str, status: os.stat_result, daemon: int) -> Finding | None:
    mode, mend = stat.S_IMODE(status.st_mode), f"mend it: maildropd init {printable(spool.path)}"
    if not stat.S_ISDIR(status.st_mode):
        return failed("folders", f"{name} is not a folder, or is a link", "remove it; links are not followed",
                      code=CONFIGURATION)  # fmt: skip
    if status.st_dev != spool.device:
        hint = "all folders are moved between by rename: keep them on one filesystem"
        return failed("folders", f"{name}/ is on another filesystem than the spool", hint, code=CONFIGURATION)
    if status.st_uid != daemon:
        what = f"{name}/ belongs to {user_name(status.st_uid)}, but active/ to {user_name(daemon)}"
        return failed("folders", what, f"{mend} --user {user_name(daemon)}", code=NOT_PERMITTED)
    return _open_to_others(spool, name, mode)


def _open_to_others(spool: Spool, name: str, mode: int) -> Finding | None:
    place = f"{printable(spool.path)}/{name}"
    if name in _DROPS and mode & 0o002 and not mode & stat.S_ISVTX:
        what = f"{name}/ is not sticky (mode {mode:04o}): users can take each other's jobs"
        return failed("folders", what, f"chmod +t {place}", code=CONFIGURATION)
    if name not in _DROPS and mode & 0o022:
        what = f"{name}/ is writable for others (mode {mode:04o}); only maildropd may write there"
        return failed("folders", what, f"chmod go-w {place}", code=CONFIGURATION)
    if name == State.ACTIVE and mode & 0o077:
        return warned("folders", f"{name}/ can be looked into by others (mode {mode:04o})", f"chmod 700 {place}")
    return None


def _producers(path: str, root: os.stat_result, there: Mapping[str, os.stat_result]) -> Iterator[Finding]:
    """Tell who may drop jobs, by the modes of ``incoming/``, of the spool, and of what leads to it."""
    incoming = there.get(State.INCOMING)
    if incoming is None:
        return
    who, needed = _who(incoming)
    if not needed:
        what = f"only {user_name(incoming.st_uid)} may write into incoming/ (mode {stat.S_IMODE(incoming.st_mode):04o})"
        yield failed("producers", what, f"mend it: maildropd init {printable(path)}", code=NOT_PERMITTED)
        return
    for place, status in ((path, root), *_parents(path)):
        if not status.st_mode & needed and not (needed == 0o010 and status.st_mode & 0o001):
            what = f"{who} may write into incoming/, but can't get there: {printable(place)} is closed to others"
            hint = f"chmod {'g' if needed == 0o010 else 'o'}+x {printable(place)}, if more users than "
            yield warned("producers", what, f"{hint}{user_name(status.st_uid)} are to drop jobs")
            return
    yield Finding(step="producers", what=f"{who} may drop jobs into incoming/")


def _who(incoming: os.stat_result) -> tuple[str, int]:
    """Return who may write there, and the bit that each folder on the way needs for them; 0 if nobody else may."""
    if incoming.st_mode & 0o003 == 0o003:
        return "everybody", 0o001
    if incoming.st_mode & 0o030 == 0o030:
        return f"members of group {group_name(incoming.st_gid)}", 0o010
    return "", 0


def _parents(path: str) -> Iterator[tuple[str, os.stat_result]]:
    while (parent := os.path.dirname(path)) != path:
        path = parent
        yield path, os.stat(path)


def _claim(path: str, root: int, there: Mapping[str, os.stat_result]) -> Iterator[Finding]:
    """Tell whether the daemon can move to ``active/`` what others make in ``incoming/`` and ``tmp/``."""
    active = there.get(State.ACTIVE)
    if active is None:
        return
    daemon, mend = active.st_uid, f"mend it: maildropd init {printable(path)}"
    closed = [name for name in (State.INCOMING.value, State.ACTIVE.value)
              if name in there and there[name].st_mode & _ALL_OF_OWNER != _ALL_OF_OWNER]  # fmt: skip
    if closed and daemon:
        what = (
            f"{user_name(daemon)} may not write into {closed[0]}/ (mode {stat.S_IMODE(there[closed[0]].st_mode):04o})"
        )
        yield failed("claim", what, mend, code=NOT_PERMITTED)
        return
    for name in _DROPS:
        finding = _acl(root, name, daemon, mend) if name in there and daemon else None
        if finding is not None:
            yield finding
            return
    yield Finding(step="claim", what=f"{user_name(daemon)} can claim what others drop")


def _acl(root: int, name: str, daemon: int, mend: str) -> Finding | None:
    try:
        descriptor = os.open(name, OPEN_FOLDER, dir_fd=root)
    except PermissionError:
        return warned("claim", f"{name}/ can't be looked into by this user", _AS_WHOM)
    except OSError:
        return None  # no folder: told before
    try:
        acl = volume.read_default_acl(descriptor)
    finally:
        os.close(descriptor)
    if acl is None:
        hint = "drop jobs as the daemon's user, or as members of its group with umask 002"
        return warned("claim", "this filesystem has no ACLs: what others make must be writable for the daemon", hint)
    if not acl:
        what = f"{name}/ has no default ACL: {user_name(daemon)} can't move what others make in it"
        return failed("claim", what, mend, code=NOT_PERMITTED)
    if acl != volume.default_acl(daemon):
        return warned("claim", f"{name}/ has another default ACL than maildropd gives it", mend)
    return None


def _disk(spool: Spool, *, volatile: bool, min_free: float) -> Iterator[Finding]:
    if volume.is_volatile(spool.filesystem):
        what = f"is on {spool.filesystem}: mail that waits here is lost at the next reboot"
        hint = "choose another path, or set spool.volatile = true"
        allowed = Finding(step="disk", what=f"{what} (spool.volatile = true)")
        yield allowed if volatile else failed("disk", what, hint, code=CONFIGURATION)
    if spool.network:
        what = f"is on {spool.filesystem}: events don't reach the daemon; drops are found by looking"
        yield warned("disk", what, "intake.rescan_seconds says how often; renames and READY work as everywhere")
    free = spool.free_fraction()
    if free < min_free:
        what = f"{free:.1%} free, less than spool.min_free ({min_free:.3g}): nothing new is claimed"
        yield failed("space", what, "free space", code=TRY_LATER)
    else:
        yield Finding(step="space", what=f"{free:.0%} free")


def user_name(uid: int) -> str:
    """Return how a user is called."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def group_name(gid: int) -> str:
    """Return how a group is called."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
