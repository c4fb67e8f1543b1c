"""How a spool is made and mended: its folders, who owns them, their modes, and the default ACL for producers.

=========================================  =======================  =============================
folder                                     with everybody           for one group only
=========================================  =======================  =============================
the spool                                  0755                     0750, of the group
``incoming/``, ``tmp/``                    1777, default ACL        1770, of the group, likewise
``active/``                                0700                     0700
``deferred/``, ``held/``, ``sent/``, …     0755                     0755
=========================================  =======================  =============================

All belong to the daemon's user. The spool's own mode says which column applies, so that a folder that is missing
later is made again as it was meant. Everything is done through descriptors: no link can lead us elsewhere.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from enum import StrEnum

from maildrop.errors import CannotCreate, ConfigurationError, NotPermitted, Problem, UsageError, printable
from maildrop.spool import volume
from maildrop.spool.tree import OPEN_FOLDER

STAGING = "tmp"


class State(StrEnum):
    """The state of a job, and the name of the folder that it is in."""

    INCOMING = "incoming"
    ACTIVE = "active"
    DEFERRED = "deferred"
    HELD = "held"
    SENT = "sent"
    FAILED = "failed"


FOLDERS = (STAGING, *(state.value for state in State))

_DEFAULT_USER = "maildropd"
_FOR_ALL, _FOR_GROUP = 0o755, 0o750  # the spool's own mode


def is_spool(root: int) -> bool:
    """Tell whether a directory is a spool: it has at least one of the folders that only maildropd writes to.

    An empty mount point is none, and so nothing is ever made in the place where a filesystem is missing.
    """
    return any(_exists(root, state.value) for state in State if state is not State.INCOMING)


def _exists(root: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def open_or_make(root: int, name: str) -> int:
    """Open a spool's folder, made in the spool's style if it is missing; raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(name, OPEN_FOLDER, dir_fd=root)
    status = os.fstat(root)
    os.mkdir(name, 0o700, dir_fd=root)
    descriptor = os.open(name, OPEN_FOLDER, dir_fd=root)
    try:
        _mend(descriptor, name, owner=status.st_uid, group=_group_of(status))
    except BaseException:
        os.close(descriptor)
        os.rmdir(name, dir_fd=root)  # half made it would pass for a folder that was meant so
        raise
    return descriptor


def init(path: str, *, user: str | None = None, group: str | None = None) -> list[str]:
    """Make a spool, or mend one; return a sentence for each folder: what was done, or that it was left as it is.

    ``user`` is the daemon's (default: ``maildropd`` for root, else the caller); with ``group`` only its members may
    drop jobs. Raises UsageError for unknown names, NotPermitted, CannotCreate, and ConfigurationError for what is in
    the way.
    """
    owner = _uid(user)
    group_id = None if group is None else _gid(group)
    shown = printable(path)
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
        root = os.open(os.path.realpath(path), OPEN_FOLDER)
    except PermissionError as error:
        raise NotPermitted(shown, error.strerror or "", hint="choose another path or user") from None
    except OSError as error:
        raise CannotCreate(shown, error.strerror or "can't be made", hint="choose another path") from None
    try:
        return _found(path, root, owner, group_id)
    except PermissionError as error:
        raise NotPermitted(shown, error.strerror or "", hint="run it as root, or as the owner of the spool") from None
    except OSError as error:
        raise CannotCreate(shown, f"can't be made: {error.strerror}") from None
    finally:
        os.close(root)


def _found(path: str, root: int, owner: int, group: int | None) -> list[str]:
    existed = is_spool(root)
    if not existed and os.listdir(root):
        raise CannotCreate(printable(path), "is not empty, and not a spool", hint="name a new folder")
    if existed and group is None:
        group = _group_of(os.fstat(root))
    shown = printable(path)
    mended = _mend(root, "", owner=owner, group=group, keep_tighter=existed)
    return [
        f"{shown}: {mended or ('left as it is' if existed else 'made')}",
        *(f"{shown}/{name}: {_found_folder(path, root, name, owner, group)}" for name in FOLDERS),
    ]


def _found_folder(path: str, root: int, name: str, owner: int, group: int | None) -> str:
    made = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=root)
        made = True
    try:
        descriptor = os.open(name, OPEN_FOLDER, dir_fd=root)
    except NotADirectoryError:
        where = printable(f"{path}/{name}")
        problem = Problem(where=where, what="is not a folder, or is a link", hint="move it away and run init again")
        raise ConfigurationError(where, [problem]) from None
    try:
        mended = _mend(descriptor, name, owner=owner, group=group)
    finally:
        os.close(descriptor)
    if made:
        return f"made; {mended}" if mended else "made"
    return mended or "left as it is"


def _mend(descriptor: int, name: str, *, owner: int, group: int | None, keep_tighter: bool = False) -> str:
    """Give a folder the owner, group, mode and ACL that it needs; return what was changed, empty if nothing.

    With ``keep_tighter`` a mode that gives less than it should is left: somebody wanted it so.
    """
    status = os.fstat(descriptor)
    changes = []
    wanted_group = group if group is not None and name in ("", STAGING, State.INCOMING) else status.st_gid
    if (status.st_uid, status.st_gid) != (owner, wanted_group):
        os.fchown(descriptor, owner, wanted_group)
        changes.append(f"owner {_user_name(owner)}")
    mode = _mode(name, for_group=group is not None)
    found = stat.S_IMODE(status.st_mode)
    if found != mode and not (keep_tighter and found | mode == mode):
        os.fchmod(descriptor, mode)
        changes.append(f"mode {mode:04o}")
    if name in (STAGING, State.INCOMING):
        changes += _mend_acl(descriptor, owner)
    return ", ".join(changes)


def _mend_acl(descriptor: int, owner: int) -> list[str]:
    acl = volume.default_acl(owner)
    found = volume.read_default_acl(descriptor)
    if found is None:
        return ["no ACLs on this filesystem: what other users drop must be writable for the daemon (umask 002)"]
    if found == acl:
        return []
    volume.write_default_acl(descriptor, acl)
    return [f"default ACL for {_user_name(owner)}"]


def _mode(name: str, *, for_group: bool) -> int:
    if name == "":
        return _FOR_GROUP if for_group else _FOR_ALL
    if name in (STAGING, State.INCOMING):
        return 0o1770 if for_group else 0o1777
    return 0o700 if name == State.ACTIVE else 0o755


def _group_of(status: os.stat_result) -> int | None:
    """Return the group that a spool is for, None if for everybody."""
    return None if status.st_mode & 0o005 else status.st_gid


def _uid(user: str | None) -> int:
    me = os.geteuid()
    if user is None and me != 0:
        return me
    name = user or _DEFAULT_USER
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        hint = "make it (systemd-sysusers does, with maildropd's file), or name another one with --user"
        raise UsageError("--user", f"there is no user '{printable(name)}'", hint=hint) from None
    if me not in (0, uid):
        raise NotPermitted("--user", f"only root can make a spool for '{printable(name)}'", hint="leave --user out")
    return uid


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        hint = "make it with groupadd, or name another one"
        raise UsageError("--group", f"there is no group '{printable(group)}'", hint=hint) from None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
