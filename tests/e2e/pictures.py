"""A message as a person would see it: taken apart by Python's `email`, shown by Chromium, read back from the PNG.

Nothing of the composer is used, and nothing is fetched: what is not in the message is a broken image.
"""

from __future__ import annotations

import base64
import html
import json
import re
import struct
import subprocess
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

WIDTH, HEIGHT = 800, 1000  # of a picture, in pixels
_SECONDS = 60  # one takes about one
_CID = re.compile(r"""cid:([^"'\s<>()&]+)|cid:([^"'<>&]+)""")
Pixels = Counter[tuple[int, int, int]]

# The mail is in a frame of its own, so that its styles, its direction and its background are only its own.
_PAGE = """<!doctype html><meta charset="utf-8"><title>mail</title>
<style>body {{ margin: 0; font: 14px sans-serif }} table {{ background: #f4f4f4; width: 100%; padding: 6px }}
th {{ text-align: left; vertical-align: top; color: #555; width: 90px }}
iframe {{ border: 0; width: 100%; height: 880px }}</style>
<table>{fields}</table><iframe srcdoc="{body}"></iframe>
<script>
// One drawing for each letter or sign: those that no font has all look alike.
function drawn(sign) {{
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const context = canvas.getContext("2d");
  context.font = "24px sans-serif";
  context.fillText(sign, 2, 26);
  return canvas.toDataURL();
}}
window.onload = () => {{
  const mail = document.querySelector("iframe").contentDocument;
  const images = [...mail.images];
  const signs = [...new Set(mail.body.innerText)].filter(sign => /[\\p{{L}}\\p{{So}}]/u.test(sign) && sign > "\\x7f");
  document.title = JSON.stringify({{
    shown: images.filter(image => image.naturalWidth > 0).length,
    broken: images.filter(image => image.naturalWidth === 0).map(image => image.getAttribute("src")),
    signs: signs.length,
    drawings: new Set(signs.map(drawn)).size,
  }});
}};
</script>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What Chromium made of a message: the file, its pixels by colour, and what the page says about itself."""

    path: Path
    size: tuple[int, int]
    colours: Pixels
    shown: int
    broken: list[str]
    signs: int
    drawings: int

    def pixels_near(self, colour: tuple[int, int, int], tolerance: int = 3) -> int:
        """Count the pixels that have this colour, or nearly."""
        return sum(
            count
            for found, count in self.colours.items()
            if all(abs(one - other) <= tolerance for one, other in zip(found, colour, strict=True))
        )


def take_picture(chromium: str, octets: bytes, path: Path) -> Picture:
    """Show a message and photograph it; ``path`` is the PNG to write, the page lies beside it."""
    page = path.with_suffix(".html")
    page.write_text(page_of(octets), "utf-8")
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={path.with_suffix('.profile')}",
        f"--window-size={WIDTH},{HEIGHT}",
        f"--screenshot={path}",
        "--dump-dom",
        page.as_uri(),
    ]
    ran = subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS)
    title = re.search(r"<title>(.*?)</title>", ran.stdout.decode(), re.DOTALL)
    assert title is not None, ran.stdout[:500]
    width, height, rows = read_png(path.read_bytes())
    colours: Pixels = Counter()
    for row, times in Counter(rows).items():
        for colour, count in Counter(zip(row[0::3], row[1::3], row[2::3], strict=True)).items():
            colours[colour] += count * times
    said = json.loads(html.unescape(title[1]))
    return Picture(path=path, size=(width, height), colours=colours, **said)


def page_of(octets: bytes) -> str:
    """Return a page with the fields that a client shows and the best form of the text."""
    message = message_from_bytes(octets, policy=default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("html", "plain"))
    assert isinstance(body, EmailMessage)
    text = body.get_content()
    names = [part.get_filename() for part in message.walk() if part.get_content_disposition() == "attachment"]
    rows = [(name, str(message[name])) for name in ("From", "To", "Subject") if name in message]
    rows += [("Attached", ", ".join(str(name) for name in names))] if names else []
    fields = "".join(f"<tr><th>{name}</th><td dir=auto>{html.escape(value)}</td></tr>" for name, value in rows)
    shown = _with_images(text, message) if body.get_content_subtype() == "html" else f"<pre>{html.escape(text)}</pre>"
    return _PAGE.format(fields=fields, body=html.escape(shown))


def _with_images(text: str, message: EmailMessage) -> str:
    """Put the parts that the HTML names into it."""
    urls = {}
    for part in message.walk():
        if "Content-ID" in part:
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            url = f"data:{part.get_content_type()};base64,{base64.b64encode(content).decode('ascii')}"
            urls[str(part["Content-ID"]).strip("<> ")] = url

    def found(match: re.Match[str]) -> str:
        return urls.get(unquote(match[1] or match[2]), match[0])

    return _CID.sub(found, text)


def read_png(octets: bytes) -> tuple[int, int, Iterator[bytes]]:
    """Return width, height and the rows of an 8-bit RGB picture, three octets a pixel."""
    assert octets.startswith(b"\x89PNG\r\n\x1a\n")
    at, header, packed = 8, b"", b""
    while at < len(octets):
        length = int.from_bytes(octets[at : at + 4])
        kind, content = octets[at + 4 : at + 8], octets[at + 8 : at + 8 + length]
        header = content if kind == b"IHDR" else header
        packed += content if kind == b"IDAT" else b""
        at += length + 12
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    assert (depth, colour, interlaced) == (8, 2, 0), "not a plain RGB picture"
    return width, height, _rows(zlib.decompress(packed), width * 3)


def _rows(filtered: bytes, octets: int) -> Iterator[bytes]:
    """Undo the filter of each row (PNG 9.2)."""
    row = bytes(octets)
    for start in range(0, len(filtered), octets + 1):
        row = _unfiltered(filtered[start], filtered[start + 1 : start + 1 + octets], row)
        yield row


@lru_cache(maxsize=64)  # most rows of a page are like those above them
def _unfiltered(kind: int, row: bytes, above: bytes) -> bytes:
    if kind == 0:
        return row
    if kind == 2:
        return bytes([(octet + up) & 0xFF for octet, up in zip(row, above, strict=True)])
    found = bytearray(3) + row  # three octets to the left of the first pixel
    corners = bytes(3) + above
    for index in range(3, len(found)):
        left, up, corner = found[index - 3], corners[index], corners[index - 3]
        guess = left if kind == 1 else (left + up) // 2 if kind == 3 else _paeth(left, up, corner)
        found[index] = (found[index] + guess) & 0xFF
    return bytes(found[3:])


def _paeth(left: int, up: int, corner: int) -> int:
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner
