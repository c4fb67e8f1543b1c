"""Files to attach: names, types and octets that tempt a sender to change them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.fuzz.mail import strings
from tests.fuzz.mail.expectation import Wanted
from tests.fuzz.mail.strings import drawn

_OCTETS = "application/octet-stream"
_BY_NAME = {
    "": _OCTETS,
    ".pdf": "application/pdf",
    ".PDF": "application/pdf",
    ".png": "image/png",
    ".txt": "text/plain",
    ".csv": "text/csv",
    ".tar.gz": "application/gzip",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".unknown-kind": _OCTETS,
}
_MESSAGE = "message/rfc822"
_DECLARED = ("application/pdf", "Image/PNG", "application/x-thing+xml", "text/plain", "font/woff2")
_MESSAGES = (  # and whether each can go as message/rfc822
    (b"From: a@x.example\r\nSubject: s\r\n\r\nbody\r\n", True),
    (b"From: a@x.example\nSubject: s\n\nbody\rwith CR", True),
    (b"\n.\n..\nFrom \n", True),
    (b"Subject: =?utf-8?q?x?=\n\n" + b"x" * 998, True),
    (b"", True),
    (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n", True),
    (b"From: a@x.example\n\n" + b"x" * 999, False),
    (b"From: a@x.example\n\n\xc3\xa9", False),
    (b"From: a@x.example\n\n\0", False),
)
_CONTENT_IDS = ("logo", "a.b@x.example", "a+b", "a%b", "a&b", "'", "{x}|~", "a=b?c/d", "x" * 190)
_PICTURES = (
    *("logo.png", "größe 1.png", "a&b.png", "it's.png", "%41.png", "100%.png", "(x).png", "日本.png", "a+b.png"),
    *("x;y,z.png", "[1].png", '"q".png', "a=b.png", "#1.png", "what?.png", "&amp;.png", "a:b.png", "cid.png"),
)
_EDGES = (0, 1, 2, 3, 56, 57, 58, 114, 171)  # octets around the ends of base64 lines
_BIG_EDGES = (57 * 2048 - 1, 57 * 2048, 57 * 2048 + 1, 57 * 2048 * 2 + 5, 300_000)  # and of slices


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A file of the job, its table in the envelope, and the part that has to come of it."""

    path: str
    octets: bytes
    table: dict[str, Any]
    wanted: Wanted


def attached(random: Random, index: int, *, stem: str) -> Attached:
    """Return a file that the envelope lists."""
    name = strings.shown_name(random)
    table: dict[str, Any] = {"path": f"files/{index}.bin", "name": name}
    content, declared, media_type, sent = _content(random, stem=stem)
    if drawn(random, 6):
        ending = random.choice(tuple(_BY_NAME))
        name, media_type, sent = name[:20].strip(" ") + "x" + ending, _BY_NAME[ending], content
        table["name"] = name
    else:
        table["type"] = declared
    parameters = {}
    if drawn(random, 8):
        said, sent_as = random.choice((("shift_jis", "shift_jis"), ("utf-8", "utf-8"), ("cp1252", "windows-1252")))
        table["charset"], parameters["charset"] = said, sent_as
    description = ""
    if drawn(random, 5):
        description = table["description"] = strings.line(random)
    wanted = Wanted(
        type=media_type.lower(),
        parameters=parameters,
        octets=sent,
        name=name,
        disposition="attachment",
        description=description,
    )
    if drawn(random, 6):
        table["inline"] = True
        wanted = replace(wanted, disposition="inline")
    if drawn(random, 8):
        content_id = f"{random.choice(_CONTENT_IDS)}{index}"
        table["content_id"] = content_id
        wanted = replace(wanted, content_id=content_id)
    return Attached(path=f"files/{index}.bin", octets=content, table=table, wanted=wanted)


def from_folder(random: Random, index: int, *, stem: str) -> Attached:
    """Return a file that is attached because it lies below ``attachments/``."""
    ending = random.choice((*_BY_NAME, ".eml"))
    name = strings.shown_name(random)[:40].strip(" .") + f"-{index}" + ending
    content, _, media_type, sent = _content(random, stem=stem, is_message=ending == ".eml")
    if ending != ".eml":
        media_type, sent = _BY_NAME[ending], content
    folder = random.choice(("", "", "more/", "é/"))
    wanted = Wanted(type=media_type, octets=sent, name=name, disposition="attachment")
    return Attached(path=f"attachments/{folder}{name}", octets=content, table={}, wanted=wanted)


def companion(random: Random, index: int) -> Attached:
    """Return a picture that lies in the job and is not attached, for HTML to refer to."""
    name = random.choice(_PICTURES)
    octets = random.randbytes(random.choice(_EDGES))
    wanted = Wanted(type="image/png", octets=octets, name=name, disposition="inline")
    return Attached(
        path=f"{random.choice(('img', 'web/img', 'web'))}/{index}/{name}", octets=octets, table={}, wanted=wanted
    )


def bare(one: Attached) -> Attached:
    """Return the same file listed by its path alone, shown under its own name."""
    name = one.path.rpartition("/")[2]
    wanted = replace(one.wanted, name=name, type=_OCTETS, parameters={}, octets=one.octets, description="")
    wanted = replace(wanted, disposition="attachment", content_id=None)
    return replace(one, table={"path": one.path}, wanted=wanted)


def _content(random: Random, *, stem: str, is_message: bool = False) -> tuple[bytes, str, str, bytes]:
    """Return a file's content, the type to declare for it, the type and the octets that have to arrive."""
    if not is_message and not drawn(random, 8):
        content = _octets(random)
        declared = random.choice(_DECLARED)
        return content, declared, declared.lower(), content
    content, is_legal = random.choice(_MESSAGES)
    if drawn(random, 20):
        content, is_legal = b"\n--=_mixed_" + stem.encode() + b"\n", False
    if not is_legal:
        return content, _MESSAGE, _OCTETS, content
    sent = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return content, _MESSAGE, _MESSAGE, sent if not sent or sent.endswith(b"\r\n") else sent + b"\r\n"


def _octets(random: Random) -> bytes:
    if drawn(random, 1500):
        size = random.choice(_BIG_EDGES)
        return Random(size).randbytes(size)
    if drawn(random, 3):
        return random.randbytes(random.choice(_EDGES))
    kind = random.randrange(4)
    if kind == 0:
        return random.choice((b"", b"\r\n.\r\n", b"\0", b"\xff\xfe", b"--=_mixed", b"From \n", b"\r", b"\n", b"=" * 99))
    return random.randbytes(random.randrange(1, 80)) * kind
