"""A plain text made from HTML, for clients and people that show none. The only user of inscriptis.

The text is for reading, not a copy: links and the words for images are kept, the layout is not.
"""

from __future__ import annotations

import re
from typing import Any

LARGEST_CHARACTERS = 500_000  # more would keep the daemon from its other work for seconds

_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


class NotAvailable(ValueError):
    """The library is not installed; ``hint`` is the way out."""

    hint = "pip install 'maildrop[html]', or write a body.txt"


def text_of(html: str) -> str | None:
    """Return the text with CRLF line ends; None where there is none, or the HTML is too large. Raises NotAvailable."""
    try:
        from inscriptis import get_text  # noqa: PLC0415  (an extra)
        from inscriptis.model.config import ParserConfig  # noqa: PLC0415
        from inscriptis.model.css import CssParse  # noqa: PLC0415
    except ImportError:
        raise NotAvailable("making a text from HTML needs an extra package") from None
    if len(html) > LARGEST_CHARACTERS:
        return None

    def style(value: str, element: Any) -> None:
        if _HIDDEN.search(value):
            CssParse.attr_style("display:none", element)

    settings = ParserConfig(display_links=True, display_images=True, deduplicate_captions=True)
    # Of styles only what hides counts: an indent of a million would be written out, blank by blank.
    settings.attribute_handler.attribute_mapping = {"style": style}
    text = get_text(html, settings)
    text = _TRAILING.sub("", _CONTROLS.sub("", text)).strip("\n")
    return text.replace("\n", "\r\n") + "\r\n" if text else None
