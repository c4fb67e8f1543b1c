"""What was said, for `transcript.log`: both sides, without secrets and without the message.

Bounded: the beginning and the end of a long dialog are kept. Lines are stored as they come and made harmless only when
somebody reads them, so that a delivery that goes well pays next to nothing for its transcript.
"""

from __future__ import annotations

from collections import deque

from maildrop.errors import printable
from maildrop.smtp.reply import Reply

_HEAD_ENTRIES = 100  # greeting, EHLO, TLS and AUTH of any sane server
_TAIL_ENTRIES = 400  # what went wrong is at the end
_HEAD_CHARACTERS = 128 * 1024  # entries are commands and whole replies, and a reply may be long
_TAIL_CHARACTERS = 256 * 1024


class Transcript:
    """The dialog of one session or one delivery."""

    __slots__ = ("_head", "_head_room", "_left_out", "_tail", "_tail_room")

    def __init__(self) -> None:
        self._head: list[str | Reply] = []
        self._tail: deque[str | Reply] = deque()
        self._head_room = _HEAD_CHARACTERS
        self._tail_room = _TAIL_CHARACTERS
        self._left_out = 0

    def client(self, line: str) -> None:
        """Note a command of ours, secrets already masked."""
        self._add(f"C: {line}")

    def server(self, reply: Reply) -> None:
        """Note a reply, secrets already masked."""
        self._add(reply)

    def note(self, text: str) -> None:
        """Note something that neither side said: TLS established, connection lost."""
        self._add(f"*: {text}")

    def text(self) -> str:
        """Return the transcript, one line each, everything unprintable escaped; ends with a newline unless empty."""
        entries: list[str | Reply] = list(self._head)
        if self._left_out:
            entries.append(f"*: {self._left_out} entries left out")
        entries += self._tail
        return "".join(f"{printable(line)}\n" for entry in entries for line in _lines(entry))

    def _add(self, entry: str | Reply) -> None:
        if not self._tail and len(self._head) < _HEAD_ENTRIES and self._head_room > 0:
            self._head.append(entry)
            self._head_room -= _characters(entry)
            return
        self._tail.append(entry)
        self._tail_room -= _characters(entry)
        while len(self._tail) > _TAIL_ENTRIES or (self._tail_room < 0 and len(self._tail) > 1):
            self._tail_room += _characters(self._tail.popleft())
            self._left_out += 1


def _characters(entry: str | Reply) -> int:
    return len(entry) if isinstance(entry, str) else sum(map(len, entry.lines))


def _lines(entry: str | Reply) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    marks = "-" * (len(entry.lines) - 1) + " "
    return [f"S: {entry.code}{mark}{line}" for mark, line in zip(marks, entry.lines, strict=True)]
