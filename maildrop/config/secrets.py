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
from typing import Any

from maildrop.config.document import DkimTable
from maildrop.config.relay_table import AuthTable
from maildrop.schema import Model
from maildrop.smtp import Secret

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


def password_of(auth: AuthTable) -> Secret:
    """Fetch the password from the one place that the table names; raises SecretError."""
    return _fetch(auth, "password", "write the password there, on one line")[1]


def signing_key_of(table: DkimTable) -> tuple[str, Secret]:
    """Fetch the private key from the one place that the table names, and that place's key; raises SecretError."""
    return _fetch(table, "key", "make one as in 'Signing (DKIM)' in the README")


def _fetch(table: Model, what: str, hint: str) -> tuple[str, Secret]:
    keys = {f"{what}_{place}": fetch for place, fetch in _FETCH.items()}
    named = {key: value for key in keys if (value := getattr(table, key)) is not None}
    if len(named) != 1:
        found = " and ".join(named) or "none of them"
        raise SecretError(f"{what}_…", f"exactly one of {', '.join(keys)} is needed; found {found}",
                          "keep one" if named else "add one")  # fmt: skip
    ((key, value),) = named.items()
    text = keys[key](key, value).decode("utf-8", "replace").rstrip("\r\n")
    if not text or "\0" in text:
        raise SecretError(key, f"the {what} is empty or holds a NUL", hint)
    return key, Secret(text)


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
