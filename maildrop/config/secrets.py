"""Where a relay's password comes from: a credential, a file, a command, the environment; never the command line.

A secret that others can read is refused. What comes back is a ``Secret``, which can't be printed by
accident.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess

from maildrop.config.document import AuthTable
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
    places = {key: value for key in _FETCH if (value := getattr(auth, key)) is not None}
    if len(places) != 1:
        found = " and ".join(places) or "none of them"
        raise SecretError("password_…", f"exactly one of {', '.join(_FETCH)} is needed; found {found}",
                          "keep one" if places else "add one")  # fmt: skip
    ((key, value),) = places.items()
    octets = _FETCH[key](value)
    text = octets.decode("utf-8", "replace").rstrip("\r\n")
    if not text or "\0" in text:
        raise SecretError(key, "the password is empty or holds a NUL", "write the password there, on one line")
    return Secret(text)


def _from_credential(name: str) -> bytes:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise SecretError("password_credential", f"no credential '{name}': not started by systemd with credentials",
                          f"add LoadCredential={name}:/path/to/file to the unit")  # fmt: skip
    return _read("password_credential", os.path.join(folder, os.path.basename(name)), private=False)


def _from_file(path: str) -> bytes:
    return _read("password_file", path, private=True)


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


def _from_command(command: str | list[str]) -> bytes:
    words = shlex.split(command) if isinstance(command, str) else command
    try:
        done = subprocess.run(  # noqa: S603  # the operator's own words, no shell
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        what = f"no answer within {_COMMAND_SECONDS} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise SecretError("password_command", f"can't run it: {what}", "run it by hand as the daemon's user") from None
    if done.returncode != 0:
        raise SecretError(
            "password_command", f"it exited with {done.returncode}", "run it by hand as the daemon's user"
        )
    return done.stdout


def _from_environment(name: str) -> bytes:
    value = os.environ.get(name)
    if value is None:
        raise SecretError("password_env", f"the environment has no {name}", "set it, or use password_credential")
    return os.fsencode(value)


_FETCH = {
    "password_credential": _from_credential,
    "password_file": _from_file,
    "password_command": _from_command,
    "password_env": _from_environment,
}
