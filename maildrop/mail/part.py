"""One body part: its header fields, its transfer encoding, its size before the first octet, its octets as a stream.

Text goes as UTF-8 in whichever of 7bit, quoted-printable and base64 is legal and smallest (RFC 2045); attachments go
bit for bit as base64, a slice at a time, so that memory does not grow with the file. Files are read through a `Source`;
how it was opened and checked is the spool's matter.
"""

from __future__ import annotations

import re
import struct
from binascii import b2a_base64, b2a_qp
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from maildrop.errors import InvalidJob, MaildropError, Problem, printable
from maildrop.mail import media
from maildrop.mail.charset import CharsetError, decode_text, mime_name, plain_ascii
from maildrop.mail.header import LINE_OCTETS, id_field, parameter_field, text_field
from maildrop.mail.lines import SLICE_OCTETS, normalized, scan
from maildrop.mail.model import Attachment

_LINE = 57  # octets that make one base64 line of 76
_LINES = 2048  # of them in one slice: 114 KiB of file, 156 KiB on the wire
_SLICE = struct.Struct("76s" * _LINES)
# A line that b2a_qp made too long: it does not count what a blank at the end becomes (RFC 2045 6.7 allows 76).
_LONG_QUOTED = re.compile(rb"^([^\r\n]{74,})(=(?:20|09))(?=\r\n)", re.MULTILINE)
_NONE: Mapping[str, str] = {}


class SourceChanged(MaildropError):
    """A file is not what it was when it was opened; the message must not be finished."""

    exit_code = 65


class Source(Protocol):
    """A file of the job, opened and checked already; raises SourceChanged where it is not what it was."""

    @property
    def name(self) -> str:
        """The name relative to the job."""
        ...

    @property
    def size(self) -> int:
        """Octets when it was opened."""
        ...

    def read(self) -> bytes:
        """Return the whole content."""
        ...

    def chunks(self, slice_octets: int) -> Iterator[bytes]:
        """Yield the content from the start; every slice is full but the last."""
        ...


class Body(Protocol):
    """Octets on their way out: the size beforehand, and as often as wanted the same stream."""

    @property
    def size(self) -> int:
        """Octets that ``chunks`` yields."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Yield the octets; may raise SourceChanged."""
        ...


@dataclass(frozen=True, slots=True)
class Octets:
    """A body that is in memory."""

    content: bytes

    @property
    def size(self) -> int:
        """Octets that ``chunks`` yields."""
        return len(self.content)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in one piece."""
        yield self.content


@dataclass(frozen=True, slots=True)
class Base64File:
    """A file as base64 lines of 76 (RFC 2045 6.8), encoded while it is read."""

    source: Source

    @property
    def size(self) -> int:
        """Octets that ``chunks`` yields."""
        return base64_size(self.source.size)

    def chunks(self) -> Iterator[bytes]:
        """Yield whole lines; raises SourceChanged."""
        octets = 0
        for chunk in self.source.chunks(_LINE * _LINES):
            octets += len(chunk)
            yield base64_lines(chunk)
        _expect(self.source, octets, self.source.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesFile:
    """A file of lines with its line ends as CRLF, from octet ``skip`` of that form on."""

    source: Source
    size: int
    skip: int = 0
    unstuff: bool = False

    def chunks(self) -> Iterator[bytes]:
        """Yield the normalized content; raises SourceChanged."""
        left = self.skip
        octets = 0
        for chunk in normalized(self.source.chunks(SLICE_OCTETS), unstuff=self.unstuff):
            if left >= len(chunk):
                left -= len(chunk)
                continue
            piece = chunk[left:] if left else chunk
            left = 0
            octets += len(piece)
            yield piece
        _expect(self.source, octets, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: its header fields (each ending in CRLF, no empty line) and its encoded body."""

    header: bytes
    body: Body

    @property
    def size(self) -> int:
        """Octets of the encoded body."""
        return self.body.size

    def chunks(self) -> Iterator[bytes]:
        """Yield the encoded body."""
        return self.body.chunks()


@dataclass(frozen=True, slots=True)
class Joined:
    """Several bodies one behind the other."""

    bodies: tuple[Body, ...]

    @property
    def size(self) -> int:
        """Octets that ``chunks`` yields."""
        return sum(body.size for body in self.bodies)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bodies in their order; may raise SourceChanged."""
        for body in self.bodies:
            yield from body.chunks()


def flat(body: Body) -> tuple[Body, ...]:
    """Return the bodies that a body is joined of."""
    return body.bodies if isinstance(body, Joined) else (body,)


def is_text(media_type: str) -> bool:
    """Whether a form of this type is text: sent as UTF-8 with CRLF line ends, not bit for bit."""
    return media_type.lower().startswith("text/")


def read_text(source: Source, charset: str, *, repair: Callable[[bytes], bytes] = bytes) -> bytes:
    """Return a text file as UTF-8 with CRLF line ends; raises InvalidJob with file, line and octet if it can't be.

    ``repair`` may mend the octets before they are decoded.
    """
    raw = repair(source.read())
    octets = plain_ascii(raw, charset)
    if octets is not None:
        return octets
    try:
        return decode_text(raw, charset).encode()
    except CharsetError as error:
        place = f"{printable(source.name)}: line {error.line}"
        problem = Problem(where=place, what=printable(str(error)), hint=error.hint)
        raise InvalidJob(source.name, [problem]) from None


def text_part(octets: bytes, media_type: str, parameters: Mapping[str, str] = _NONE, *, boundary: str) -> Part:
    """Make a part of UTF-8 text with CRLF line ends; ``boundary`` does not occur in the encoded body."""
    is_plain = plain_ascii(octets, "ascii") == octets and boundary.encode() not in octets
    encoding, body = _encoded(octets, is_plain=is_plain)
    header = f"Content-Type: {media_type}; charset=utf-8"
    if parameters:
        header += "".join([f"; {key}={value}" for key, value in parameters.items()])
    header += f"\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return Part(header=header.encode("ascii"), body=Octets(body))


def attachment_part(source: Source, attachment: Attachment, *, boundary: str) -> Part:
    """Make a part of a file: bit for bit as base64, or as a message where its name and its content say so."""
    media_type = attachment.type or media.type_of(attachment.name)
    body: Body = Base64File(source)
    encoding = "base64"
    if media_type.lower() == media.MESSAGE:
        found = scan(normalized(source.chunks(SLICE_OCTETS)), forbidden=boundary.encode())
        is_message = found.is_ascii and found.longest <= LINE_OCTETS and not (found.has_nul or found.has_forbidden)
        if is_message:
            body, encoding = LinesFile(source=source, size=found.size), "7bit"
        else:
            media_type = media.OCTETS
    types: dict[str, str] = {"charset": mime_name(attachment.charset)} if attachment.charset is not None else {}
    header = parameter_field("Content-Type", media_type, {**types, "name": attachment.name})
    header += f"Content-Transfer-Encoding: {encoding}\r\n".encode("ascii")
    disposition = "inline" if attachment.inline else "attachment"
    header += parameter_field("Content-Disposition", disposition, {"filename": attachment.name})
    if attachment.content_id is not None:
        header += id_field("Content-ID", [f"<{attachment.content_id}>"])
    if attachment.description:
        header += text_field("Content-Description", attachment.description)
    return Part(header=header, body=body)


def file_part(source: Source, media_type: str) -> Part:
    """Make a part of a form that is not text: bit for bit, without a name."""
    header = f"Content-Type: {media_type}\r\nContent-Transfer-Encoding: base64\r\n".encode("ascii")
    return Part(header=header, body=Base64File(source))


def base64_lines(octets: bytes) -> bytes:
    """Encode in lines of 76 characters, each ending in CRLF."""
    encoded = b2a_base64(octets, newline=False)
    if len(encoded) == _SLICE.size:
        return b"\r\n".join(_SLICE.unpack(encoded)) + b"\r\n"
    whole = len(encoded) // 76
    lines = list(struct.unpack_from("76s" * whole, encoded))
    if len(encoded) > whole * 76:
        lines.append(encoded[whole * 76 :])
    return b"\r\n".join([*lines, b""])


def base64_size(octets: int) -> int:
    """Return what ``base64_lines`` makes of so many octets."""
    encoded = (octets + 2) // 3 * 4
    return encoded + (encoded + 75) // 76 * 2


def _encoded(octets: bytes, *, is_plain: bool) -> tuple[str, bytes]:
    """Choose the smallest legal transfer encoding for text with CRLF line ends."""
    if is_plain and (len(octets) <= LINE_OCTETS or max(map(len, octets.split(b"\r\n"))) <= LINE_OCTETS):
        return "7bit", octets
    quoted = b2a_qp(octets, istext=True)
    if b"=20\r\n" in quoted or b"=09\r\n" in quoted:
        quoted = _LONG_QUOTED.sub(rb"\1=\r\n\2", quoted)
    if len(quoted) <= base64_size(len(octets)):
        return "quoted-printable", quoted
    if len(octets) <= _LINE * _LINES:
        return "base64", base64_lines(octets)
    step = _LINE * _LINES
    return "base64", b"".join([base64_lines(octets[start : start + step]) for start in range(0, len(octets), step)])


def _expect(source: Source, octets: int, size: int) -> None:
    if octets != size:
        what = f"the file was changed while it was being sent: {octets} octets instead of {size}"
        raise SourceChanged(printable(source.name), what, hint="drop the job again when its files are finished")
