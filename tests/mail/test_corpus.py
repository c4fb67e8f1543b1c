"""Jobs as producers write them, each with the message that comes out described beside it for a person to review.

``UPDATE_CORPUS=1`` writes the descriptions anew; read the difference before it is committed.
"""

from __future__ import annotations

import os
import re
from email import message_from_bytes
from email.message import Message

import pytest

from maildrop.errors import InvalidJob
from maildrop.mail.message import Need
from tests.mail.corpus_jobs import CORPUS, NAMES, Composed, compose_job
from tests.mail.description import describe

_USUAL = (
    "Date: Mon, 23 Nov 2026 08:00:00 +0000",
    "Message-ID: <0123456789abcdef0123456789abcdef@host.example>",
    "MIME-Version: 1.0",
)
_FIELD_LINE = re.compile(rb"[!-9;-~]+:.*|[ \t]+[^ \t].*", re.DOTALL)


def faults_of(composed: Composed) -> list[str]:
    """Say what is illegal in the octets whatever they mean."""
    octets = composed.octets
    found = []
    if composed.size != len(octets):
        found.append(f"size {composed.size}, but there are {len(octets)} octets")
    if re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets) or not octets.endswith(b"\r\n"):
        found.append("a bare CR, a bare LF, a NUL, or no CRLF at the end")
    if max(map(len, octets.split(b"\r\n"))) > 998:
        found.append("a line of more than 998 octets")
    header, _, body = octets.partition(b"\r\n\r\n")
    if not header.isascii() and Need.SMTPUTF8 not in composed.needs:
        found.append("header fields beyond ASCII without SMTPUTF8")
    if not body.isascii() and Need.EIGHTBITMIME not in composed.needs:
        found.append("8-bit text without 8BITMIME")
    if not composed.finished:
        delimiter = rb"\r\n--=_[a-z]+_" + composed.stem.encode("ascii") + rb"\r\n"
        sections = [(part + b"\r\n").partition(b"\r\n\r\n")[0] for part in re.split(delimiter, octets)]
        found += [fault for section in sections for fault in _faults_of_section(section)]
    return found


def _faults_of_section(section: bytes) -> list[str]:
    found = []
    for line in section.split(b"\r\n"):
        if _FIELD_LINE.fullmatch(line) is None:
            found.append(f"neither a field nor a fold: {line!r}")
        limit = 76 if b"=?" in line and b"?=" in line else 78
        if len(line) > limit and b" " in line.partition(b": ")[2].strip():
            found.append(f"{len(line)} octets in a line that could be folded: {line!r}")
    return found


def description_of(name: str) -> list[str]:
    """Compose a job and describe what comes out: the message, or why there is none."""
    try:
        composed = compose_job(name)
    except InvalidJob as refusal:
        return ["refused:", *[f"  {problem}" for problem in refusal.problems]]
    assert faults_of(composed) == []
    delivery = composed.delivery
    return [
        f"reverse-path: <{delivery.reverse_path}>",
        *[f"forward-path: <{path}>" for path in delivery.forward_paths],
        f"message needs: {', '.join(sorted(composed.needs)) or 'nothing'}",
        *describe(composed.octets, stem=composed.stem, finished=composed.finished, usual=_USUAL),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_job(name: str) -> None:
    """The job becomes exactly the message, or the refusal, that is described beside it."""
    beside = CORPUS / name / "expected.txt"
    found = description_of(name)
    if os.environ.get("UPDATE_CORPUS"):
        beside.write_text("\n".join(found) + "\n", "utf-8", newline="\n")
    assert found == beside.read_text("utf-8").removesuffix("\n").split("\n")


FINISHED = [name for name in NAMES if name.startswith("eml-") and not name.endswith("-refused")]


@pytest.mark.parametrize("name", FINISHED)
def test_finished_message_stays_as_written(name: str) -> None:
    """Nothing but trace fields, Bcc and line ends goes; nothing but Date and Message-ID comes, at the header's end."""
    written = re.split(rb"\r\n|\r|\n", (CORPUS / name / "job" / "message.eml").read_bytes())
    while re.match(rb"(?i)x-(sender|receiver):", written[0]):
        del written[0]
    end = written.index(b"")
    head = [line for line in written[:end] if not line.startswith(b"Bcc:")]
    body = written[end:] if written[-1] == b"" else [*written[end:], b""]
    if name == "eml-iis-dot-stuffed":
        body = [line[1:] if line.startswith(b".") else line for line in body]
    sent = compose_job(name).octets.split(b"\r\n")
    added = sent[len(head) : sent.index(b"")]
    assert sent[: len(head)] == head
    assert [line.partition(b":")[0] for line in added] == (
        [b"Date", b"Message-ID"] if name == "eml-null-sender" else []
    )
    assert sent[sent.index(b"") :] == body


def test_the_corpus_is_as_large_as_promised() -> None:
    """At least forty jobs, small enough for a repository, every one with its description."""
    assert len(NAMES) >= 40
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 400_000
    assert [name for name in NAMES if not (CORPUS / name / "expected.txt").is_file()] == []


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"From: a@x.example\r\n \r\nTo: b@x.example\r\n\r\n", "neither a field nor a fold"),
        (b"Subject: " + b"word " * 20 + b"end\r\n\r\n", "could be folded"),
        (b"Subject: x\r\n\r\na\rb\r\n", "bare CR"),
        (b"Subject: x\r\n\r\n" + b"y" * 999 + b"\r\n", "more than 998"),
        (b"Subject: \xc3\xa4\r\n\r\n", "without SMTPUTF8"),
        (b"Subject: x\r\n\r\n\xc3\xa4\r\n", "without 8BITMIME"),
    ],
)
def test_each_fault_is_seen(octets: bytes, words: str) -> None:
    """A message with one fault is told from a good one: the checks above can fail."""
    good = compose_job("plain-ascii")
    bad = Composed(
        delivery=good.delivery, finished=False, needs=frozenset(), size=len(octets), octets=octets, stem=good.stem
    )
    (fault,) = faults_of(bad)
    assert words in fault


def test_parts_without_defects() -> None:
    """No part of any composed message looks defective to Python's parser."""
    defects: dict[str, list[object]] = {}
    for name in NAMES:
        if name.endswith("-refused"):
            continue
        composed = compose_job(name)
        if not composed.finished:
            parts: list[Message] = list(message_from_bytes(composed.octets).walk())
            defects[name] = [defect for part in parts for defect in part.defects]
    assert {name: found for name, found in defects.items() if found} == {}
