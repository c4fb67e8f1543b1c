"""Who vouches for a message: one ``DKIM-Signature`` field in front of it, for authors of our own domains.

RFC 6376 (relaxed/relaxed), RFC 8463 (Ed25519), RFC 8301 (no key below 1024 bits). The body is hashed as it streams by,
so memory does not grow with attachments. Keys, header canonicalization and the mathematics are dkimpy's (extra
``dkim``), which is loaded when a signer is made and nowhere else. Where the key comes from is not known here, nor what
time it is: the same message, date and key give the same octets.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from maildrop.mail.address import AddressError, parse_mailbox_list
from maildrop.mail.fieldlist import Field, parse_fields
from maildrop.mail.message import Message

MISSING = "signing needs the package dkimpy, which is not installed"
INSTALL = "pip install 'maildrop[dkim]'"

_MIN_BITS = 1024  # RFC 8301 3.2: verifiers take a signature by less as none
_LINE_CHARACTERS = 78
_BLANKS = re.compile(rb"\t[\t ]*| [\t ]+")  # all runs that are not one blank already
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)-----\n(.*?)\n-----END \1-----", re.DOTALL)
_ED25519_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # RFC 8410 7: then the 32 octets of the seed
_ED25519_OCTETS = 32

# RFC 6376 5.4.1, with what a program shows or acts upon; From is signed once more than it is there, so that a second
# one can't be added.
_SIGNED = (
    "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references",
    "mime-version", "content-type", "content-transfer-encoding", "content-id", "content-description",
    "content-disposition", "content-language",
    "resent-date", "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-message-id",
    "list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post", "list-subscribe", "list-post", "list-owner",
    "list-archive",
)  # fmt: skip


class SigningKeyError(ValueError):
    """The key can't sign; ``hint`` is the way out. The key itself is never repeated."""

    def __init__(self, what: str, hint: str) -> None:
        """Say what is wrong and what to do."""
        super().__init__(what)
        self.hint = hint


def is_available() -> bool:
    """Tell whether dkimpy is installed, without loading it."""
    return find_spec("dkim") is not None


@dataclass(frozen=True, slots=True)
class _Key:
    """A key that works: the name of its algorithm, and from a digest (of SHA-256) to the signature."""

    algorithm: str
    sign: Callable[[Any], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs for ``domains`` (and those below them) by the public key at ``selector``; both in ASCII.

    ``key`` is PEM (RSA in PKCS#1 or PKCS#8, Ed25519 in PKCS#8) or the 32 octets of an Ed25519 key in base64. Making a
    signer raises SigningKeyError if that is no key, or one that is too weak; and if dkimpy is missing.
    """

    selector: str
    domains: frozenset[str]
    key: str = field(repr=False)
    _key: _Key = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the key, once for all messages."""
        object.__setattr__(self, "_key", _read_key(self.key))

    def signed(self, message: Message, *, date: datetime) -> Message:
        """Return the message with a signature; as it is if it has one, or if its author is of another domain.

        Reads the whole message; raises SourceChanged as its ``chunks`` do.
        """
        chunks = message.chunks()
        header, start = _header_section(chunks)
        fields = parse_fields(header)
        domain = self._domain(fields)
        if not domain or any(field.name == "dkim-signature" for field in fields):
            return message
        signature = self._signature(fields, _body_hash(_behind(start, chunks)), domain, date)
        return replace(message, signature=signature, size=message.size + len(signature))

    def _domain(self, fields: list[Field]) -> str:
        """Return which of the domains the author is of, the longest one, or nothing."""
        authors = next((field.value for field in fields if field.name == "from"), "")
        try:
            labels = parse_mailbox_list(authors, obsolete=True)[0].address.rpartition("@")[2].lower().split(".")
        except (AddressError, IndexError):
            return ""  # a finished message whose X-Sender spoke for it
        above = (".".join(labels[count:]) for count in range(len(labels)))
        return next((domain for domain in above if domain in self.domains), "")

    def _signature(self, fields: list[Field], body_hash: bytes, domain: str, date: datetime) -> bytes:
        import dkim  # noqa: PLC0415  # it is there: the key was read by it

        names = [name for name in _SIGNED for field in fields if field.name == name]
        tags = [
            "v=1;", f"a={self._key.algorithm};", "c=relaxed/relaxed;", f"d={domain};", f"s={self.selector};",
            f"t={int(date.timestamp())};", *_colons(["from", *names]), f"bh={b64encode(body_hash).decode('ascii')};",
        ]  # fmt: skip
        start = _folded("DKIM-Signature:", tags)
        relaxed = dkim.canonicalization.Relaxed
        headers = relaxed.canonicalize_headers([_name_and_value(field.octets) for field in fields])
        own = _name_and_value(start + b"\r\n b=")
        digest = hashlib.sha256()
        dkim.hash_headers(digest, relaxed, headers, [name.encode("ascii") for name in ["from", *names]], own, {})
        value = b64encode(self._key.sign(digest))
        width = _LINE_CHARACTERS - len(" b=")
        pieces = [value[at : at + width] for at in range(0, len(value), width)]
        return start + b"\r\n b=" + b"\r\n ".join(pieces) + b"\r\n"


def _colons(names: list[str]) -> list[str]:
    """Return the words of the list of signed fields; blanks may stand around its colons (RFC 6376 3.5)."""
    return [f"h={names[0]}", *(f":{name}" for name in names[1:-1]), f":{names[-1]};"]


def _folded(line: str, words: Iterable[str]) -> bytes:
    """Write the words behind each other, in lines of 78 where no word is longer."""
    lines = []
    for word in words:
        glue = "" if word.startswith(":") else " "
        if len(line) + len(glue) + len(word) > _LINE_CHARACTERS:
            lines.append(line)
            line, glue = "", " "
        line += glue + word
    return "\r\n".join([*lines, line]).encode("ascii")


def _name_and_value(octets: bytes) -> tuple[bytes, bytes]:
    name, _, value = octets.partition(b":")
    return name, value


def _header_section(chunks: Iterator[bytes]) -> tuple[bytes, bytes]:
    """Take the header section (without the empty line) off the chunks; return it, and what came with it of the body."""
    section = b""
    for chunk in chunks:
        section += chunk
        header, found, start = section.partition(b"\r\n\r\n")
        if found:
            return header + b"\r\n", start
    return section, b""


def _behind(start: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield start
    yield from chunks


def _body_hash(chunks: Iterable[bytes]) -> bytes:
    """Hash the body in relaxed form (RFC 6376 3.4.4) as it streams by: a line and a chunk of it are held at most."""
    digest = hashlib.sha256()
    empty_lines = 0  # not hashed before something follows them
    for lines in _whole_lines(chunks):
        relaxed = lines
        if b" " in lines or b"\t" in lines:
            # In this order the time is linear, however many blanks a line has.
            relaxed = _BLANKS.sub(b" ", lines).replace(b" \r\n", b"\r\n")
        end = len(relaxed)
        while relaxed.endswith(b"\r\n", 0, end):
            end -= 2
        if end:
            for count in _portions(empty_lines):
                digest.update(b"\r\n" * count)
            digest.update(relaxed[: end + 2])
            empty_lines = -1
        empty_lines += (len(relaxed) - end) // 2
    return digest.digest()


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the octets anew so that no piece ends within a line; the last line gets its CRLF."""
    rest = b""
    for chunk in chunks:
        head, found, tail = chunk.rpartition(b"\r\n")
        if found:
            yield rest + head + found
            rest = tail
        else:
            rest += tail
    if rest:
        yield rest + b"\r\n"


def _portions(count: int) -> Iterator[int]:
    """Cut a number into pieces of moderate size."""
    while count > 0:
        yield min(count, 4096)
        count -= 4096


def _read_key(text: str) -> _Key:
    """Read the key and try it; raises SigningKeyError."""
    if not is_available():
        raise SigningKeyError(MISSING, INSTALL)
    octets = "\n".join([line.strip() for line in text.splitlines() if line.strip()]).encode()
    if b"ENCRYPTED" in octets:
        raise SigningKeyError("the key has a passphrase", "'openssl pkey -in KEY -out NEW' takes it off")
    pem = _PEM.search(octets)
    try:
        der = b64decode(octets if pem is None else pem[2])
    except Base64Error:
        raise _no_key() from None
    if pem is None and len(der) == _ED25519_OCTETS:
        return _ed25519(der)
    if pem is not None and der.startswith(_ED25519_PKCS8):
        return _ed25519(der.removeprefix(_ED25519_PKCS8)[:_ED25519_OCTETS])
    if pem is None:
        raise _no_key()
    return _rsa(pem[0])


def _ed25519(seed: bytes) -> _Key:
    try:
        from nacl.signing import SigningKey  # noqa: PLC0415  # comes with the extra
    except ImportError:
        raise SigningKeyError("an Ed25519 key needs the package pynacl, which is not installed", INSTALL) from None
    try:
        key = SigningKey(seed)
    except ValueError:
        raise _no_key() from None
    return _Key("ed25519-sha256", lambda digest: key.sign(digest.digest()).signature)  # RFC 8463 3: of the hash


def _rsa(pem: bytes) -> _Key:
    import dkim.crypto  # noqa: PLC0415  # 70 ms, and it need not be installed

    faults = (dkim.crypto.UnparsableKeyError, ValueError, TypeError, LookupError, ArithmeticError)
    try:
        key = dkim.crypto.parse_pem_private_key(pem)
    except faults:
        raise _no_key() from None
    bits = key["modulus"].bit_length()
    if bits < _MIN_BITS:
        what = f"the key has {bits} bits; signatures with less than {_MIN_BITS} count as none"
        raise SigningKeyError(what, "make one with 2048")

    def sign(digest: Any) -> bytes:
        return bytes(dkim.crypto.RSASSA_PKCS1_v1_5_sign(digest, key))

    trial = hashlib.sha256()
    try:
        works = dkim.crypto.RSASSA_PKCS1_v1_5_verify(trial, sign(trial), key)
    except faults:
        works = False
    if not works:
        raise SigningKeyError("the key is damaged: what it signs does not verify", "copy it again")
    return _Key("rsa-sha256", sign)


def _no_key() -> SigningKeyError:
    what = "it holds no private key of a kind that DKIM has (RSA, Ed25519)"
    return SigningKeyError(what, "make one as in 'Signing (DKIM)' in the README")
