"""A list of addresses in one string, cut at its commas: quoted strings, comments, literals, groups (RFC 5322 3.4).

What an element means is `address`'s to say. Any list is cut in one pass, however many marks open in it and never close.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from maildrop.errors import printable

SHOWN = 80  # characters of a wrong address repeated in a message

_SPECIAL = r'"(?:[^"\\]|\\.)*"|\[[^\[\]]*\]|\\.'
_LIST_TOKEN = re.compile(_SPECIAL + r'|[^"\[\\(),:;<>]+|.')
_OLD_LIST_TOKEN = re.compile(_SPECIAL + r'|=\?[^?\s]+\?[bBqQ]\?[^?\s"<>]*\?=|(?:(?!=\?)[^"\[\\(),:;<>])+|.')


class AddressError(ValueError):
    """The text is not the address that was expected; says what is wrong and what was expected."""


def elements(text: str, *, groups: bool) -> Iterator[str]:
    """Cut a list at its commas, leaving out comments; quoted strings, brackets and literals stay whole.

    ``groups`` is for header fields that others wrote: the members of groups count, and encoded words stay whole too.
    Raises AddressError.
    """
    element, in_angle, in_group = "", False, False
    for mark in _without_comments(text, _OLD_LIST_TOKEN if groups else _LIST_TOKEN):
        if mark == "<":
            in_angle = True
        elif mark == ">":
            in_angle = False
        elif not in_angle and mark in (":", ";"):
            if not groups or in_group != (mark == ";"):
                what = "expected commas between addresses" if groups else "groups are not supported, expected addresses"
                raise AddressError(f"'{_shown(text)}' has a '{mark}'; {what}")
            if mark == ";" and element.strip(" "):
                yield element.strip(" ")
            element, in_group = "", mark == ":"
            continue
        elif not in_angle and mark == ",":
            yield element.strip(" ")
            element = ""
            continue
        element += mark
    if in_group:
        raise AddressError(f"the group in '{_shown(text)}' has no closing ';'")
    if element.strip(" ") or not groups:
        yield element.strip(" ")


def _without_comments(text: str, tokens: re.Pattern[str]) -> Iterator[str]:
    """Return the tokens of a list; each comment, nested ones included, is one blank, and encoded words get quotes."""
    depth = 0
    for match in tokens.finditer(text):
        mark = match.group()
        if mark == '"' and not depth:
            raise AddressError(f"'{_shown(text)}' has a double quote that is never closed")
        if mark == "(":
            depth += 1
        elif mark == ")":
            depth -= 1
            if depth < 0:
                raise AddressError(f"'{_shown(text)}' has a ')' too many; a name with parentheses needs double quotes")
            yield " "
        elif not depth:
            yield f'"{mark}"' if mark.startswith("=?") and len(mark) > 2 and tokens is _OLD_LIST_TOKEN else mark
    if depth:
        raise AddressError(f"'{_shown(text)}' has a '(' that is never closed")


def _shown(text: str) -> str:
    return printable(text, limit=SHOWN)
