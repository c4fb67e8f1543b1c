"""What the filesystem under a spool can do, and who may write where: its type from mountinfo, and POSIX ACLs.

Moving a directory to another parent needs write permission on the directory itself. So that the daemon can claim what
other users make, ``incoming/`` has a default ACL that names the daemon; everything made inside inherits it, whatever
the producer's umask. It also gives nobody else access, so producers can't read each other's jobs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct

_VOLATILE = frozenset({"tmpfs", "ramfs"})
_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "ceph",
        "lustre",
        "afs",
        "coda",
        "gfs2",
        "ocfs2",
        "virtiofs",
        "vboxsf",
    }
)
_ORDERED_REPLACE = frozenset({"ext3", "ext4", "btrfs"})  # data reaches the disk before the rename over an old file does

_DEFAULT_ACL = "system.posix_acl_default"
_ACCESS_ACL = "system.posix_acl_access"
_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")  # tag, permissions, id
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_NO_ACLS = frozenset({errno.ENOTSUP, errno.EINVAL})


def filesystem_type(descriptor: int) -> str:
    """Return the type of the filesystem that a descriptor is on, as mount(8) names it; empty if it can't be known."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as info:
            mount = next(line.split()[1] for line in info if line.startswith("mnt_id:"))
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            line = next(line for line in mounts if line.split(" ", 1)[0] == mount)
        return line.rpartition(" - ")[2].split(" ", 1)[0]
    return ""


def is_volatile(kind: str) -> bool:
    """Tell whether what is on a filesystem of this type is gone after a reboot."""
    return kind in _VOLATILE


def is_network(kind: str) -> bool:
    """Tell whether others may change files without the kernel telling us; FUSE filesystems belong here."""
    return kind in _NETWORK or kind == "fuse" or kind.startswith("fuse.")


def orders_replacing_renames(kind: str) -> bool:
    """Tell whether a file that replaces another by rename is never empty after a power cut, even when not synced."""
    return kind in _ORDERED_REPLACE


def default_acl(daemon: int) -> bytes:
    """Return the ACL for what is made in a folder: all for its owner and for uid ``daemon``, nothing for others."""
    return _acl(owner=7, user=daemon, user_permissions=7, others=0)


def _acl(*, owner: int, user: int, user_permissions: int, others: int) -> bytes:
    """Return an ACL in the kernel's form: entries ordered by tag."""
    entries = (
        (_USER_OBJ, owner, _NO_ID),
        (_USER, user_permissions, user),
        (_GROUP_OBJ, others, _NO_ID),
        (_MASK, user_permissions | others, _NO_ID),
        (_OTHER, others, _NO_ID),
    )
    return _VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries)


def read_default_acl(descriptor: int) -> bytes | None:
    """Return a folder's default ACL in the kernel's form: empty if it has none, None if the filesystem has no ACLs."""
    try:
        return os.getxattr(descriptor, _DEFAULT_ACL)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return b""
        if error.errno in _NO_ACLS:
            return None
        raise


def write_default_acl(descriptor: int, acl: bytes) -> None:
    """Set a folder's default ACL."""
    os.setxattr(descriptor, _DEFAULT_ACL, acl)


def let_read(descriptor: int, user: int) -> None:
    """Let one more user enter a folder of ours and list it; raises OSError, also where there are no ACLs."""
    os.setxattr(descriptor, _ACCESS_ACL, _acl(owner=7, user=user, user_permissions=5, others=0))


def names_user(path: str, user: int) -> bool:
    """Tell whether the ACL of a file or folder names this user, with whatever rights its mask leaves."""
    try:
        acl = os.getxattr(path, _ACCESS_ACL, follow_symlinks=False)
    except OSError:
        return False
    return any(tag == _USER and uid == user for tag, _, uid in _ENTRY.iter_unpack(acl[len(_VERSION) :]))
