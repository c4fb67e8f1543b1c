"""Plain text as paragraphs that a client may wrap anew: ``format=flowed`` (RFC 3676).

A line that ends in a blank goes on in the next one. Lines of the file are paragraphs; a long one is cut at blanks, and
what a reader would take for a mark is protected by a blank of its own (space-stuffing, 4.4).
"""

from __future__ import annotations

import re

_WIDTH = 72  # RFC 3676 4.2 advises at most 78 with the stuffed blank and quote marks
_QUOTED = re.compile(r"(>+) ?(.*)", re.DOTALL)
_SIGNATURE = "-- "  # RFC 3676 4.3: the one fixed line that ends in a blank


def flowed(text: str) -> str:
    """Return text with CRLF line ends in its flowed form, which holds the same lines but for blanks at their ends."""
    return "\r\n".join([_paragraph(line) for line in text.split("\r\n")])


def _paragraph(line: str) -> str:
    if line == _SIGNATURE:
        return line
    match = _QUOTED.fullmatch(line)
    marks, words = (match[1], match[2]) if match else ("", line)
    words = words.rstrip(" ")
    pieces = [marks + _stuffed(piece, is_quoted=bool(marks)) for piece in _cut(words, _WIDTH - len(marks))]
    return "\r\n".join(pieces)


def _cut(words: str, width: int) -> list[str]:
    """Cut behind blanks, so that every piece but the last ends in one and none is blank or looks like a signature."""
    pieces, start = [], 0
    while len(words) - start > width:
        end = words.rfind(" ", start + 1, start + width) + 1 or words.find(" ", start + width) + 1
        while 0 < end < len(words) and words[end] == " ":
            end += 1
        piece = words[start:end]
        if not end or end >= len(words) or not piece.strip(" ") or piece == _SIGNATURE:
            break
        pieces.append(piece)
        start = end
    return [*pieces, words[start:]]


def _stuffed(piece: str, *, is_quoted: bool) -> str:
    if is_quoted:
        return f" {piece}" if piece else ""
    return f" {piece}" if piece.startswith((" ", ">", "From ")) else piece
