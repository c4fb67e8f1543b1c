"""A plain text made from HTML, for clients and people that show none. The only user of inscriptis.

The text is for reading, not a copy: links and the words for images are kept, the layout is not.
"""

from __future__ import annotations

import re

LARGEST_CHARACTERS = 1_000_000  # more would keep the daemon from its other work for seconds

_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


class NotAvailable(ValueError):
    """The library is not installed; ``hint`` is the way out."""

    hint = "pip install 'maildrop[html]', or write a body.txt"


def text_of(html: str) -> str | None:
    """Return the text with CRLF line ends; None where there is none, or the HTML is too large. Raises NotAvailable."""
    try:
        from inscriptis import get_text  # noqa: PLC0415  (an extra)
        from inscriptis.model.config import ParserConfig  # noqa: PLC0415
    except ImportError:
        raise NotAvailable("making a text from HTML needs an extra package") from None
    if len(html) > LARGEST_CHARACTERS:
        return None
    text = get_text(html, ParserConfig(display_links=True, display_images=True, deduplicate_captions=True))
    text = _TRAILING.sub("", _CONTROLS.sub("", text)).strip("\n")
    return text.replace("\n", "\r\n") + "\r\n" if text else None
