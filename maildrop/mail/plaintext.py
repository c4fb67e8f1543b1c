"""A plain text made from HTML, for clients and people that show none. The only user of inscriptis.

The text is for reading, not a copy: links and the words for images are kept, the layout is not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

LARGEST_CHARACTERS = (
    100_000  # Gmail cuts longer HTML off; parsing can take the square of the length, and the daemon waits
)

_TABLES = ("table", "tr", "td", "th")
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


class NotAvailable(ValueError):
    """The library is not installed; ``hint`` is the way out."""

    hint = "pip install 'maildrop[html]', or write a body.txt"


def text_of(html: str) -> str | None:
    """Return the text with CRLF line ends; None where there is none, or the HTML is too large. Raises NotAvailable."""
    try:
        from inscriptis import get_text  # noqa: PLC0415  (an extra)
    except ImportError:
        raise NotAvailable("making a text from HTML needs an extra package") from None
    if len(html) > LARGEST_CHARACTERS:
        return None
    text = get_text(html, _settings())
    lines = [line.rstrip(" \t") for line in _CONTROLS.sub("", text).split("\n")]
    text = "\r\n".join(lines).strip("\r\n")
    return text + "\r\n" if text else None


@lru_cache(maxsize=1)
def _settings() -> Any:
    """Return how the library shall write: in linear time and space, whatever the HTML is.

    Of styles only what hides counts, since an indent of a million would be written out, blank by blank. A row of a
    table becomes a line: the library's own tables give every cell the width and the height of the largest.
    """
    from inscriptis.css_profiles import STRICT_CSS_PROFILE  # noqa: PLC0415
    from inscriptis.html_properties import Display  # noqa: PLC0415
    from inscriptis.model.config import ParserConfig  # noqa: PLC0415
    from inscriptis.model.css import CssParse  # noqa: PLC0415
    from inscriptis.model.html_element import HtmlElement  # noqa: PLC0415
    from inscriptis.model.tag import CustomHtmlTagHandlerMapping  # noqa: PLC0415

    def style(value: str, element: Any) -> None:
        if _HIDDEN.search(value):
            CssParse.attr_style("display:none", element)

    def plain(*_state: Any) -> None:
        """Leave a tag to its style."""

    row = HtmlElement(display=Display.block)
    cell = HtmlElement(display=Display.inline, prefix=" ", suffix=" ", limit_whitespace_affixes=True)
    settings = ParserConfig(
        css={**STRICT_CSS_PROFILE, "table": row, "tr": row, "td": cell, "th": cell},
        display_links=True,
        display_images=True,
        deduplicate_captions=True,
        custom_html_tag_handler_mapping=CustomHtmlTagHandlerMapping(
            start_tag_mapping=dict.fromkeys(_TABLES, plain), end_tag_mapping=dict.fromkeys(_TABLES, plain)
        ),
    )
    settings.attribute_handler.attribute_mapping = {"style": style}
    return settings
