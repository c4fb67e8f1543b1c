"""Media types by file name."""

from __future__ import annotations

import mimetypes

import pytest

from maildrop.mail.media import type_fault, type_of


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.pdf", "application/pdf"),
        ("A.PDF", "application/pdf"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.xls", "application/vnd.ms-excel"),
        ("a.odt", "application/vnd.oasis.opendocument.text"),
        ("a.png", "image/png"),
        ("a.csv", "text/csv"),
        ("a.html", "text/html"),
        ("notes.txt.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.tar.bz2", "application/x-bzip2"),
        ("a.Z", "application/x-compress"),
        ("a.svgz", "application/gzip"),
        ("a.jpg.zst", "application/zstd"),
        ("a.mjs", "text/javascript"),
        ("a.markdown", "text/markdown"),
        ("a.ogg", "audio/ogg"),
        ("a.woff2", "font/woff2"),
        ("é.PDF", "application/pdf"),
        ("a.pdf.exe", "application/octet-stream"),
        ("a.eml", "message/rfc822"),
        ("a.mht", "application/octet-stream"),
        ("a", "application/octet-stream"),
        (".profile", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ],
)
def test_type_of_a_name(name: str, media_type: str) -> None:
    """The last suffix decides; a compressed file has its compression's type."""
    assert type_of(name) == media_type


def test_the_machine_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types that the machine or the process registered do not count: a retry elsewhere gives the same octets."""
    monkeypatch.setattr(mimetypes, "knownfiles", [])
    mimetypes.add_type("application/x-local", ".x-local-test")
    assert type_of("a.x-local-test") == "application/octet-stream"


@pytest.mark.parametrize("media_type", ["application/pdf", "text/x-my.type+xml", "message/rfc822"])
def test_declared_types(media_type: str) -> None:
    """A type and a subtype can be declared."""
    assert type_fault(media_type) == ""


@pytest.mark.parametrize(
    "media_type",
    ["pdf", "text/plain; charset=x", "text/plain\r\nBcc: x", "multipart/mixed", "message/partial", "a/b/c", "é/x", ""],
)
def test_refused_types(media_type: str) -> None:
    """Parameters, line breaks and types with a structure of their own can't."""
    assert type_fault(media_type)
