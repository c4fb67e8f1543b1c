"""References in HTML and CSS: where they stand, and how to replace them without touching any other octet.

Found are the attributes that show a file (``src``, ``background``, ``poster``) and ``url(…)`` in style sheets and style
attributes, in Outlook's conditional comments too. What a reference means is not known here. Written by hand because
parsers that serialize anew change the whole text, and the standard library's takes quadratic time for unclosed tags
(CVE-2025-6069); this one looks at each character a bounded number of times. Rules: WHATWG HTML 13.2, as far as needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape

Replace = Callable[[str], str | None]
"""Takes a reference as it is meant (entities resolved, outer blanks gone); returns the new one, None to leave it."""

_REFERRING = frozenset({"src", "background", "poster"})
_TAG = re.compile(r"<[A-Za-z][^\s/>]*")
_ATTRIBUTE = re.compile(r"[\s/]*([^\s/>][^\s/>=]*)(?:(\s*=\s*)(?=[^\s>]))?")
_UNQUOTED = re.compile(r"[^\s>]+")
_RAW_TEXT = {  # elements whose content is no markup, with the tag that ends them
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style", "textarea", "title", "xmp")
}
_QUOTE = "[\"']|&(?:quot|apos|#0*3[49]|#[xX]0*2[27]);"  # in an attribute it may be written as an entity
_URL = re.compile(
    rf"""url\(\s*(?:(?P<quote>{_QUOTE})(?P<quoted>(?:(?!(?P=quote))[^\n])*)(?=(?P=quote)\s*\))"""
    rf"""|(?!{_QUOTE})(?P<bare>[^\s"'()]+)(?=\s*\)))""",
    re.IGNORECASE,
)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';]+)", re.IGNORECASE)
_BLANKS = " \t\r\n\f"


def rewritten(html: str, replace: Replace) -> str:
    """Return the HTML with each reference replaced for which ``replace`` returns another one."""
    pieces: list[str] = []
    done = 0
    for start, end, new in _changes(html, replace):
        pieces += (html[done:start], new)
        done = end
    return "".join([*pieces, html[done:]]) if pieces else html


def rewritten_css(css: str, replace: Replace) -> str:
    """Return CSS likewise, for its ``url(…)``; entities are resolved, since the style of an element is an attribute."""

    def one(match: re.Match[str]) -> str:
        inside = match[match.lastgroup or 0]
        new = replace(unescape(inside).strip(_BLANKS))
        return match[0] if new is None else match[0].removesuffix(inside) + new

    return _URL.sub(one, css) if "(" in css else css


def images_without_words(html: str) -> tuple[str, ...]:
    """Return the ``src`` of each image that has no ``alt``, for those who can't see it."""
    found = []
    for tag in _tags(html):
        values = {name: html[start:end] for name, start, end in reversed(tag.attributes)}
        if tag.name == "img" and "alt" not in values:
            found.append(unescape(values.get("src", "")).strip(_BLANKS))
    return tuple(found)


def declared_charset(html: str) -> str | None:
    """Return the character set that the HTML says it is written in (WHATWG HTML 4.2.5.4)."""
    for tag in _tags(html):
        if tag.name == "meta":
            values = {name: html[start:end] for name, start, end in reversed(tag.attributes)}
            match = _CHARSET.search(values.get("content", ""))
            charset = values.get("charset") or (match[1] if match else None)
            if charset:
                return charset.strip(_BLANKS)
    return None


@dataclass(slots=True)
class _Tag:
    """A start tag: where the values of its attributes stand, and the raw text behind it, if its content is that."""

    name: str
    attributes: list[tuple[str, int, int]]
    raw_text: tuple[int, int] = (0, 0)


def _changes(html: str, replace: Replace) -> Iterator[tuple[int, int, str]]:
    """Yield what changes, from the start to the end: where, and what stands there afterwards."""
    for tag in _tags(html):
        for name, start, end in tag.attributes:
            value = html[start:end]
            if name in _REFERRING:
                new = replace(unescape(value).strip(_BLANKS))
            else:
                new = rewritten_css(value, replace) if name == "style" else None
            if new is not None and new != value:
                yield start, end, new
        if tag.name == "style":
            start, end = tag.raw_text
            css = rewritten_css(html[start:end], replace)
            if css != html[start:end]:
                yield start, end, css


def _tags(html: str) -> Iterator[_Tag]:
    """Yield the start tags in their order; what is in comments, scripts and titles is none."""
    at = html.find("<")
    while at >= 0:
        if html.startswith("<!--", at):
            at = _behind_comment(html, at)
        elif opened := _TAG.match(html, at):
            tag = _Tag(opened[0][1:].lower(), [])
            at = opened.end()
            while attribute := _ATTRIBUTE.match(html, at):
                start, end, at = _value(html, attribute.end()) if attribute[2] else (at, at, attribute.end())
                tag.attributes.append((attribute[1].lower(), start, end))
            if tag.name in _RAW_TEXT:
                tag.raw_text = (at, _end_of_raw_text(html, at, tag.name))
                at = tag.raw_text[1]
            yield tag
        else:
            at += 1
        at = html.find("<", at) if at >= 0 else -1


def _behind_comment(html: str, at: int) -> int:
    """Return where to go on behind the start of a comment: inside, if it is one of Outlook's; -1 at the end of all."""
    if html[at : at + len("<!--[if")].lower() == "<!--[if":
        return at + len("<!--[if")
    end = html.find("-->", at + 2)  # <!--> is a whole comment
    return end + 3 if end >= 0 else -1


def _value(html: str, at: int) -> tuple[int, int, int]:
    """Return start and end of the attribute value at ``at`` without its quotes, and where to go on.

    A quote that is not closed goes to the end of the text.
    """
    if html[at] in "\"'":
        end = html.find(html[at], at + 1)
        return (at + 1, end, end + 1) if end >= 0 else (at + 1, len(html), len(html))
    match = _UNQUOTED.match(html, at)
    end = match.end() if match else at
    return at, end, end


def _end_of_raw_text(html: str, at: int, name: str) -> int:
    match = _RAW_TEXT[name].search(html, at)
    return match.start() if match else len(html)
