"""Messages of the corpus as a person sees them: shown by Chromium, with their images, in the right signs."""

from __future__ import annotations

import html
import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest

from tests.e2e.pictures import HEIGHT, WIDTH, Picture, page_of, read_png, take_picture
from tests.mail.corpus_jobs import compose_job

BUILD = Path(__file__).resolve().parents[2] / "build" / "pictures"
INSTALL = (
    "sudo apt-get install --no-install-recommends chromium fonts-dejavu-core fonts-noto-cjk fonts-noto-color-emoji"
)

RED, GREEN, BLUE, ORANGE = (230, 25, 75), (60, 180, 75), (67, 99, 216), (245, 130, 49)  # chart.png
TEAL = (0, 128, 128)  # logo.png
MAROON = (128, 0, 0)  # stamp.png
YELLOW = (255, 216, 0)  # tile.png
CYAN = (0, 200, 220)  # ball.gif
MAGENTA = (240, 50, 230)  # icon.svg
PURPLE = (145, 30, 180)  # photo.jpg
CHART = {RED: 2000, GREEN: 3000, BLUE: 4000, ORANGE: 1000}

# How many images are painted, which references stay broken, and how many pixels of which colour there are at least.
LOOKS: dict[str, tuple[int, list[str], dict[tuple[int, int, int], int]]] = {
    "inline-every-kind": (
        9,
        ["images/missing.png", "https://www.example.com/pixel.png", "//cdn.example.com/x.png", "/absolute.png"],
        {**CHART, TEAL: 1500, MAROON: 1000, YELLOW: 4000, CYAN: 2000, MAGENTA: 1500, PURPLE: 5000},
    ),
    "inline-chart": (2, [], {**CHART, TEAL: 1500}),
    "inline-newsletter-japanese": (2, [], {YELLOW: 20000, PURPLE: 5000, CYAN: 1000}),
    "inline-by-cid-only": (3, ["cid:unknown"], {TEAL: 3000, MAGENTA: 1500}),
    "invitation-request": (0, [], {BLUE: 300, GREEN: 300, RED: 300}),
    "gb18030-invoice": (0, [], {YELLOW: 2000, (192, 0, 0): 100}),
    "arabic-rtl": (0, [], {}),
    "emoji-zwj-subject": (0, [], {}),
    "cp437-box-table": (0, [], {}),
    "ebcdic-cp1141-euro": (0, [], {}),
}


@pytest.fixture(scope="module")
def chromium() -> str:
    """Return the browser; without it there is nothing to see."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"chromium is missing: {INSTALL}")
        pytest.skip(f"chromium is missing: {INSTALL}")
    return found


@pytest.fixture(scope="module")
def pictures(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Picture]:
    """Photograph every message once, and keep the pictures on one page for people to look at."""
    folder = tmp_path_factory.mktemp("pictures")
    taken = {name: take_picture(chromium, compose_job(name).octets, folder / f"{name}.png") for name in LOOKS}
    BUILD.mkdir(parents=True, exist_ok=True)
    figures = []
    for name, picture in taken.items():
        shutil.copy(picture.path, BUILD / picture.path.name)
        figures.append(
            f'<figure><img src="{name}.png" width="400"><figcaption>{html.escape(name)}</figcaption></figure>'
        )
    page = "<!doctype html><meta charset=utf-8><style>figure { display: inline-block; border: 1px solid }</style>"
    (BUILD / "index.html").write_text(page + "".join(figures) + "\n", "utf-8")
    return taken


@pytest.mark.parametrize("name", LOOKS)
def test_message_looks_right(name: str, pictures: dict[str, Picture]) -> None:
    """Every image of the message is painted, in its colours, and every sign of its text has a shape."""
    picture = pictures[name]
    shown, broken, colours = LOOKS[name]
    assert picture.size == (WIDTH, HEIGHT)
    assert (picture.shown, picture.broken) == (shown, broken)
    lacking = {colour: picture.pixels_near(colour) for colour in colours}
    assert {colour: found for colour, found in lacking.items() if found < colours[colour]} == {}
    assert picture.drawings == picture.signs, f"signs without a font: {INSTALL}"
    assert len(picture.colours) > 16  # nothing but a white page has fewer


def test_emoji_are_coloured(pictures: dict[str, Picture]) -> None:
    """Families, flags and skin tones are pictures, not outlines."""
    coloured = sum(
        count for colour, count in pictures["emoji-zwj-subject"].colours.items() if max(colour) - min(colour) > 60
    )
    assert coloured > 3000, f"no coloured emoji: {INSTALL}"


def test_an_image_that_is_missing_is_seen(chromium: str, tmp_path: Path) -> None:
    """A message whose inline part is lost looks broken here, as it does to its reader."""
    octets = compose_job("inline-chart").octets
    lost = octets.replace(b"Content-ID: <2.", b"Content-ID: <9.")
    assert lost != octets
    picture = take_picture(chromium, lost, tmp_path / "lost.png")
    assert picture.shown == 1
    assert len(picture.broken) == 1
    assert picture.pixels_near(BLUE) == 0


def test_the_page_shows_what_a_client_shows() -> None:
    """The page names author, addressee, subject and attachments, and shows the HTML rather than the plain text."""
    page = page_of(compose_job("inline-chart").octets)
    for words in ("Alice Archer", "bob@example.org", "Weekly figures 📊", "figures.csv", "data:image/png;base64,"):
        assert words in page
    assert "Red 60" not in page


def test_every_filter_of_png_is_read() -> None:
    """A picture with one row for each filter type comes back as it was drawn."""
    rows = [bytes((7 * x + 31 * y + x * y) % 256 for x in range(12)) for y in range(5)]
    packed = b""
    above = bytes(12)
    for kind, row in enumerate(rows):
        packed += bytes([kind])
        for index, octet in enumerate(row):
            left, corner = (row[index - 3], above[index - 3]) if index >= 3 else (0, 0)
            nearest = min((left, above[index], corner), key=lambda one: abs(left + above[index] - corner - one))
            guesses = (0, left, above[index], (left + above[index]) // 2, nearest)
            packed += bytes([(octet - guesses[kind]) & 0xFF])
        above = row
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 4, 5, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(packed)), (b"IEND", b"")]
    octets = b"".join(struct.pack(">I", len(data)) + kind + data + bytes(4) for kind, data in chunks)
    width, height, read = read_png(b"\x89PNG\r\n\x1a\n" + octets)
    assert (width, height, list(read)) == (4, 5, rows)
