"""Where passwords and keys come from: a credential, a file, a command, the environment; never the command line.

A secret that others can read is refused. What comes back is a ``Secret``, which can't be printed by
accident.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maildrop.config.auth_table import AuthTable
from maildrop.config.document import DkimTable
from maildrop.schema import Model
from maildrop.smtp import CredentialsUnavailable, Secret
from maildrop.spool import durable

_COMMAND_SECONDS = 30  # a password command that hangs must not hang the start for ever
_MAX_OCTETS = 64 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class SecretError(ValueError):
    """The secret can't be had; ``key`` is the key that names its place."""

    def __init__(self, key: str, what: str, hint: str) -> None:
        """Name the key, what is wrong and the way out."""
        super().__init__(what)
        self.key = key
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a secret lies, and how it is called: a `maildrop.smtp.token.SecretPlace`. Equal if it is the same place."""

    what: str
    kind: str
    value: str | tuple[str, ...]
    hint: str

    @property
    def key(self) -> str:
        """The key that names it."""
        return f"{self.what}_{self.kind}"

    def read(self) -> Secret:
        """Read the secret now; may block; raises SecretError."""
        value = self.value if isinstance(self.value, str) else list(self.value)
        text = _FETCH[self.kind](self.key, value).decode("utf-8", "replace").rstrip("\r\n")
        if not text or "\0" in text:
            raise SecretError(self.key, f"the {self.what.replace('_', ' ')} is empty or holds a NUL", self.hint)
        return Secret(text)

    def fetch(self) -> Secret:
        """Read the secret again, later; may block; raises CredentialsUnavailable."""
        try:
            return self.read()
        except SecretError as error:
            raise CredentialsUnavailable(f"{self.key}: {error}; {error.hint}", configuration=True) from None

    def unwritable(self) -> str:
        """Return why no other secret can be put there, or nothing."""
        if self.kind != "file":
            return f"{self.key} can't be written to"
        folder = os.path.dirname(os.path.realpath(str(self.value)))
        return "" if os.access(folder, os.W_OK | os.X_OK) else f"the daemon may not write to {folder}"

    def store(self, secret: Secret) -> str:
        """Put another secret there, durable when it returns; return why that can't be done, or nothing."""
        if self.kind != "file":
            return self.unwritable()
        folder, name = os.path.split(os.path.realpath(str(self.value)))
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                durable.write_atomically(descriptor, name, f"{secret.reveal()}\n".encode(), sync=True, mode=0o600)
                durable.sync_directory(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            return f"{self.value}: {error.strerror}"
        return ""

    def stamp(self) -> object:
        """Return what changes when a file is replaced or written; None for what only a person knows to have changed."""
        path = str(self.value)
        if self.kind == "credential":
            path = os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", ""), os.path.basename(path))
        if self.kind not in ("credential", "file"):
            return None
        try:
            status = os.stat(path)
        except OSError as error:
            return error.errno
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def place_of(table: Model, what: str, hint: str) -> Place:
    """Return the one place that a table names for a secret; raises SecretError if there are none or several."""
    keys = [f"{what}_{kind}" for kind in _FETCH]
    named = {key: value for key in keys if (value := getattr(table, key)) is not None}
    if len(named) != 1:
        found = " and ".join(named) or "none of them"
        raise SecretError(f"{what}_…", f"exactly one of {', '.join(keys)} is needed; found {found}",
                          "keep one" if named else "add one")  # fmt: skip
    ((key, value),) = named.items()
    kind = key.removeprefix(f"{what}_")
    return Place(what=what, kind=kind, value=value if isinstance(value, str) else tuple(value), hint=hint)


def password_place(auth: AuthTable) -> Place:
    """Return where the password of a relay lies; raises SecretError."""
    return place_of(auth, "password", "write the password there, on one line")


def password_of(auth: AuthTable) -> Secret:
    """Fetch the password from the one place that the table names; raises SecretError."""
    return password_place(auth).read()


def signing_key_of(table: DkimTable) -> tuple[str, Secret]:
    """Fetch the private key from the one place that the table names, and that place's key; raises SecretError."""
    place = place_of(table, "key", "make one as in 'Signing (DKIM)' in the README")
    return place.key, place.read()


def _from_credential(key: str, name: str) -> bytes:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise SecretError(key, f"no credential '{name}': not started by systemd with credentials",
                          f"add LoadCredential={name}:/path/to/file to the unit")  # fmt: skip
    return _read(key, os.path.join(folder, os.path.basename(name)), private=False)


def _from_file(key: str, path: str) -> bytes:
    return _read(key, path, private=True)


def _read(key: str, path: str, *, private: bool) -> bytes:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise SecretError(key, f"{path} is not a regular file", "name a file")
            if private and mode & _OTHERS:
                raise SecretError(key, f"{path} can be read by others (mode {mode & 0o7777:04o})", f"chmod 600 {path}")
            return file.read(_MAX_OCTETS)
    except OSError as error:
        raise SecretError(
            key, f"{path}: {error.strerror}", "make the file readable by the daemon's user alone"
        ) from None


def _from_command(key: str, command: str | list[str]) -> bytes:
    words = shlex.split(command) if isinstance(command, str) else command
    try:
        done = subprocess.run(  # noqa: S603  # the operator's own words, no shell
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        what = f"no answer within {_COMMAND_SECONDS} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise SecretError(key, f"can't run it: {what}", "run it by hand as the daemon's user") from None
    if done.returncode != 0:
        raise SecretError(key, f"it exited with {done.returncode}", "run it by hand as the daemon's user")
    return done.stdout


def _from_environment(key: str, name: str) -> bytes:
    value = os.environ.get(name)
    if value is None:
        raise SecretError(key, f"the environment has no {name}", f"set it, or use {key.removesuffix('env')}credential")
    return os.fsencode(value)


_FETCH: dict[str, Callable[[str, Any], bytes]] = {
    "credential": _from_credential,
    "file": _from_file,
    "command": _from_command,
    "env": _from_environment,
}
