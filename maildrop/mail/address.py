"""Mailboxes as people write them, and the one form in which they go on the wire.

The grammar is our own and strict (RFC 5322 addr-spec, RFC 5321 lengths and address literals, RFC 6531 for local parts
that are not ASCII): the standard library cuts ``a@b,c@d`` to its first half or passes ``a@b> NOTIFY=NEVER`` through.
Domains follow IDNA 2008 with the UTS 46 mapping, so ``faß.example`` is ``xn--fa-hia.example`` (the only user of idna).
A local part that is an encoded word (RFC 2047) is refused: programs on the way would read another address out of it.
Whether a domain exists is not asked here.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import idna

from maildrop.errors import printable
from maildrop.mail.addresslist import SHOWN, AddressError, elements
from maildrop.mail.rules import header_fault

__all__ = ["AddressError", "Mailbox", "parse_mailbox", "parse_mailbox_list", "parse_path", "same_path"]

_LOCAL_OCTETS = 64  # RFC 5321 4.5.3.1.1
_ADDRESS_OCTETS = 254  # RFC 5321 4.5.3.1.3: a path of 256 with its brackets
_DOMAIN_CHARACTERS = 255  # longer can't become a domain, and is not worth mapping

_ATEXT = r"[\w!#$%&'*+\-/=?^`{|}~\x80-\U0010ffff]"
_DOT_ATOM = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*", re.ASCII)
_PLAIN = re.compile(
    r"([\w!#$%&'*+\-/=?^`{|}~]{1,64})@((?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,63})",
    re.ASCII,
)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WORD = re.compile(rf' *(?:"((?:[^"\\]|\\.)*)"|((?:{_ATEXT}|\.)+))', re.ASCII)
_ENCODED_WORD = re.compile(r"=\?[^?]+\?[bBqQ]\?[^?]*\?=")
_JOINERS = "\u200c\u200d"  # legal in a domain where a script needs them
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """One author or addressee as a person wrote it; ``local`` without quotes, ``domain`` perhaps Unicode."""

    name: str = ""
    local: str
    domain: str

    @property
    def address(self) -> str:
        """The wire form: local part, quoted where it has to be, and the domain in ASCII."""
        return _wire_local(self.local) + "@" + _wire_domain(self.domain)

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only SMTPUTF8 can carry it: the local part is not ASCII (a domain always has an ASCII form)."""
        return not self.local.isascii()


def parse_mailbox(text: str) -> Mailbox:
    """Read exactly one mailbox: whatever stands before ``<`` is its name. Raises AddressError."""
    match = _PLAIN.fullmatch(text)
    if match is not None:  # nearly every address there is
        return _mailbox("", match[1], match[2])
    text = _checked(text)
    name, spec = _name_and_spec(text)
    _refuse_hidden_address(name)
    quoted = _QUOTED.fullmatch(name)
    name = _ESCAPED.sub(r"\1", quoted[1]) if quoted else name
    return _mailbox(name.strip(" "), *_local_and_domain(spec))


def parse_mailbox_list(text: str, *, obsolete: bool = False) -> tuple[Mailbox, ...]:
    """Read an RFC 5322 mailbox list: names with commas, dots at the end or parentheses need quotes there.

    ``obsolete`` is for header fields of finished messages: members of groups count, lists may have holes, and a name
    in encoded words may hold commas that should have been encoded. Raises AddressError.
    """
    mailboxes = []
    for element in elements(_checked(text), groups=obsolete):
        if not element and obsolete:
            continue
        if not element:
            raise AddressError("has an empty place between commas; expected addresses separated by single commas")
        mailboxes.append(_strict_mailbox(element))
    return tuple(mailboxes)


def parse_path(text: str) -> str:
    """Read a bare address, with or without angle brackets, to its wire form; ``""`` and ``<>`` are the null path."""
    text = _checked(text) if text.strip(" ") else ""
    if text in ("", "<>"):
        return ""
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    elif "<" in text and not text.startswith('"'):
        raise AddressError(f"'{_shown(text)}' has a name; expected only the address, such as user@example.com")
    local, domain = _local_and_domain(text)
    return _mailbox("", local, domain).address


def same_path(wire: str) -> str:
    """Return what is equal for paths that are the same: domains have no case (RFC 5321 2.4), local parts may."""
    local, _, domain = wire.rpartition("@")
    return f"{local}@{domain.lower()}"


def _mailbox(name: str, local: str, domain: str) -> Mailbox:
    octets = len(_wire_local(local).encode()) + 1 + len(_wire_domain(domain))
    if octets > _ADDRESS_OCTETS:
        raise AddressError(f"is an address of {octets} octets; at most {_ADDRESS_OCTETS} are allowed")
    return Mailbox(name=name, local=local, domain=domain)


def _checked(text: str) -> str:
    """Return ``text`` without outer blanks; an empty one and control characters are refused."""
    fault = header_fault(text)
    if fault:
        raise AddressError(fault)
    text = text.strip(" ")
    if not text:
        raise AddressError("is empty; expected an address such as Name <user@example.com>")
    return text


def _shown(text: str) -> str:
    return printable(text, limit=SHOWN)


def _name_and_spec(text: str) -> tuple[str, str]:
    """Cut ``Name <spec>`` at its bracket; a bracket inside a leading quoted string does not count."""
    quoted = _QUOTED.match(text)
    start = text.find("<", quoted.end() if quoted else 0)
    if start < 0:
        return "", text
    if not text.endswith(">"):
        raise AddressError(f"'{_shown(text)}' does not end with '>'; expected Name <user@example.com>")
    return text[:start].strip(" "), text[start + 1 : -1].strip(" ")


def _refuse_hidden_address(name: str) -> None:
    """Refuse ``a@x.example, B <b@y.example>`` as one mailbox: taken as a name it would lose a recipient."""
    if "@" not in name or name.startswith('"') or not ("," in name or ";" in name):
        return
    for piece in re.split("[,;]", name):
        local, at, domain = piece.strip(" ").rpartition("@")
        if at and _DOT_ATOM.fullmatch(local) and "." in domain and _DOT_ATOM.fullmatch(domain):
            raise AddressError(f"'{_shown(name)}' names a second address; expected one mailbox in each list element")


def _strict_mailbox(element: str) -> Mailbox:
    """Read a list element whose name is an RFC 5322 phrase (dots allowed, as everybody writes them)."""
    name, spec = _name_and_spec(element)
    words, position = [], 0
    while position < len(name):
        match = _WORD.match(name, position)
        if match is None:
            raise AddressError(f"the name '{_shown(name)}' needs double quotes, or write a list of addresses: [ … ]")
        words.append(match[2] if match[1] is None else _ESCAPED.sub(r"\1", match[1]))
        position = match.end()
    return _mailbox(" ".join(words).strip(" "), *_local_and_domain(spec))


def _local_and_domain(spec: str) -> tuple[str, str]:
    """Read an addr-spec: ``local@domain`` with the quotes of the local part removed."""
    quoted = _QUOTED.match(spec)
    if quoted is not None and spec.startswith("@", quoted.end()):
        local, domain = _ESCAPED.sub(r"\1", quoted[1]), spec[quoted.end() + 1 :]
        if not local:
            raise AddressError("has an empty local part")
    else:
        local, at, domain = spec.rpartition("@")
        if not at:
            raise AddressError(f"'{_shown(spec)}' has no '@'; expected an address such as user@example.com")
        if len(local) > _LOCAL_OCTETS or _DOT_ATOM.fullmatch(local) is None:
            raise AddressError(f"'{_shown(spec)}' is not an address; {_what_is_wrong(local)}")
    if not local.isascii() and any(unicodedata.category(sign)[0] in "ZC" for sign in local if not sign.isascii()):
        raise AddressError(f"'{_shown(spec)}' has an invisible character before the '@'")
    _wire_local(local)
    _wire_domain(domain)
    return local, domain


def _what_is_wrong(local: str) -> str:
    if not local:
        return "nothing stands before the '@'"
    if len(local) > _LOCAL_OCTETS:
        return f"at most {_LOCAL_OCTETS} octets may stand before the '@'"
    if "," in local or ";" in local:
        return "expected exactly one; several go into a list: [ … ]"
    if "@" in local:
        return "expected one '@'"
    return "expected letters, digits and single dots before the '@', anything else in double quotes"


@lru_cache(maxsize=4096)
def _wire_local(local: str) -> str:
    """Return the local part, quoted where it has to be."""
    if "=?" in local and _ENCODED_WORD.search(local):
        raise AddressError(f"'{_shown(local)}' before the '@' is an encoded word; expected the address itself")
    wire = local
    if _DOT_ATOM.fullmatch(local) is None:
        wire = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if len(wire.encode()) > _LOCAL_OCTETS:
        raise AddressError(f"'{_shown(local)}' has more than {_LOCAL_OCTETS} octets before the '@'")
    return wire


@lru_cache(maxsize=4096)
def _wire_domain(domain: str) -> str:
    """Return the ASCII form: as written if it is ASCII, by IDNA 2008 with the UTS 46 mapping otherwise."""
    if not domain or len(domain) > _DOMAIN_CHARACTERS:
        raise AddressError("has no domain after the '@'" if not domain else "has a domain of more than 255 characters")
    if domain.startswith("["):
        return _literal(domain)
    ascii_domain = domain
    if not domain.isascii():
        try:
            ascii_domain = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
        except UnicodeError as error:
            raise AddressError(f"'{_shown(domain)}' is not a domain: {printable(str(error), limit=SHOWN)}") from None
    labels = ascii_domain.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressError(f"'{_shown(domain)}' is not a domain; expected labels of letters, digits, hyphens")
    false = next((label for label in labels if not _is_honest(label)), "")
    if false:
        raise AddressError(f"'{_shown(domain)}' is not a domain; '{_shown(false)}' stands for no name in any script")
    if labels[-1].isdigit():
        raise AddressError(f"'{_shown(domain)}' is not a domain; an IP address stands in brackets: [192.0.2.1]")
    return ascii_domain


def _is_honest(label: str) -> bool:
    """Whether an ASCII label is no A-label, or one that stands for visible characters (RFC 5891 5.4).

    Which of them a registry sells is not asked: there are hosts with pictures for names, and they have no other form.
    """
    if label[:4].lower() != "xn--":
        return True
    try:
        text = label[4:].lower().encode("ascii").decode("punycode")
        again = text.encode("punycode").decode("ascii")
    except UnicodeError:
        return False
    visible = not any(unicodedata.category(character)[0] in "ZC" and character not in _JOINERS for character in text)
    return visible and not text.isascii() and again == label[4:].lower()


def _literal(domain: str) -> str:
    """Check an address literal (RFC 5321 4.1.3): ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``."""
    inner = domain[1:-1] if domain.endswith("]") else ""
    try:
        if inner[:5].lower() == "ipv6:" and "%" not in inner:
            ipaddress.IPv6Address(inner[5:])
        else:
            ipaddress.IPv4Address(inner)
    except ValueError:
        raise AddressError(f"'{_shown(domain)}' is not an address literal; expected [192.0.2.1]") from None
    return domain
