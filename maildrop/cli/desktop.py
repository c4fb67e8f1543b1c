"""Showing a message to a person: a file of its own, opened with the desktop's mail program.

Which program that is, is the desktop's to know (``xdg-open``). Where there is no desktop, the file is there all the
same, and the error says what to do with it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import ClassVar

import click

from maildrop.errors import CannotCreate, MaildropError, printable

_OPENER = "xdg-open"
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


class NoDesktop(MaildropError):
    """The message was written, but nothing here can show it (EX_UNAVAILABLE: a program that does not exist)."""

    exit_code: ClassVar[int] = 69


def place_for(job: str) -> str:
    """Return the path of a new file for a job's message, in a folder that only this user can enter."""
    name = os.path.basename(job.rstrip("/")) or "message"
    try:
        folder = tempfile.mkdtemp(prefix="maildropd-")
    except OSError as error:
        hint = "name a file with -o, or another folder with TMPDIR"
        raise CannotCreate(tempfile.gettempdir(), error.strerror or str(error), hint=hint) from None
    return os.path.join(folder, name if name.lower().endswith(".eml") else f"{name}.eml")


def show(path: str) -> None:
    """Open the file with the program that the desktop has for mails; raises NoDesktop."""
    shown = printable(path)
    hint = "open the file on a machine with a desktop"
    if not any(os.environ.get(name) for name in _DISPLAYS):
        raise NoDesktop(shown, "is written, but there is no desktop in this session", hint=hint)
    if shutil.which(_OPENER) is None:
        raise NoDesktop(shown, f"is written, but {_OPENER} is missing", hint=f"install xdg-utils, or {hint}")
    if click.launch(os.path.abspath(path), wait=True) != 0:
        hint = "install a mail program that reads .eml files"
        raise NoDesktop(shown, f"is written, but {_OPENER} can't open it", hint=hint)
