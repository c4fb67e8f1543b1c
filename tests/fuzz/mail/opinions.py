"""Two more readers of a message, neither of them ours: Perl's Email::MIME, and Python's `email`.

An opinion is what a mail program would show: field names, subject, people, and the tree of parts with their types,
names and the digests of their content.
"""

from __future__ import annotations

import email.header
import email.utils
import json
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from hashlib import sha1
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fuzz.mail.reader import Part
from tests.fuzz.mail.values import Address

_PEOPLE = ("From", "Sender", "Reply-To", "To", "Cc")
_SCRIPT = Path(__file__).with_name("second_parser.pl")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_AS_WRITTEN = compat32.clone(linesep="\r\n", max_line_length=0, mangle_from_=False)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one reader found; ``tree`` is a part's type, name, Content-ID, digest, and its children likewise."""

    names: list[str]
    subject: str
    people: dict[str, list[Address]]
    tree: Any


def missing() -> str:
    """Say what the second parser lacks on this machine, and how to get it; an empty string if it can run."""
    perl = shutil.which("perl")
    modules = [f"-M{module}" for module in ("Email::MIME", "Email::Address::XS", "JSON::XS")]
    if perl is not None and subprocess.run([perl, *modules, "-e1"], capture_output=True, check=False).returncode == 0:
        return ""
    return "no second parser: apt-get install libemail-mime-perl libemail-address-xs-perl libjson-xs-perl"


class SecondParser:
    """One Perl process that answers for one message after the other."""

    def __init__(self) -> None:
        """Start the process."""
        self._process = subprocess.Popen(["perl", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def give(self, octets: bytes) -> None:
        """Hand over a message; `answer` has to be called before the next one."""
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack("!I", len(octets)) + octets)
        self._process.stdin.flush()

    def answer(self) -> tuple[Opinion, list[str]]:
        """Return what the process read, and its complaints."""
        assert self._process.stdout is not None
        found = json.loads(self._process.stdout.readline())
        faults = [f"second parser: {warning}" for warning in found["warnings"]]
        people = {name: [(one[0], one[1], one[2]) for one in group] for name, group in found.get("people", {}).items()}
        tree = _tree_of_perl(found["tree"], faults) if "tree" in found else None
        opinion = Opinion(names=found.get("names", []), subject=found.get("subject", ""), people=people, tree=tree)
        return opinion, faults


def _tree_of_perl(part: dict[str, Any], faults: list[str]) -> Any:
    if "children" in part:
        return part["type"], [_tree_of_perl(child, faults) for child in part["children"]]
    name = part.get("name")
    if part.get("old_name") != name:
        faults.append(f"second parser: name is {part.get('old_name')!a}, but filename {name!a}")
    return part["type"], name, part.get("content_id", ""), part["digest"]


def own_opinion(part: Part) -> Opinion:
    """Return the same of what our own reader read."""
    people: dict[str, list[Address]] = {}
    subject = ""
    for name, value in part.fields:
        if name in _PEOPLE:
            assert isinstance(value, list)
            people[name] = value
        elif name == "Subject":
            subject = str(value)
    return Opinion(names=[name for name, _ in part.fields], subject=subject, people=people, tree=_tree(part))


def _tree(part: Part) -> Any:
    if part.children:
        return part.type, [_tree(child) for child in part.children]
    return part.type, part.name, part.content_id, _digest(part.content)


def _digest(content: bytes) -> str:
    return sha1(content, usedforsecurity=False).hexdigest()


def third_opinion(octets: bytes) -> tuple[Opinion, list[str]]:
    """Read with Python's `email` as old programs use it (policy compat32)."""
    message = message_from_bytes(octets)
    faults: list[str] = []
    raw = {name: _unfolded(value) for name, value in message.raw_items()}
    people = {name: [_address(shown, spec) for shown, spec in _pairs(raw[name])] for name in _PEOPLE if name in raw}
    tree = _tree_of_python(message, faults)
    subject = _words(raw.get("Subject", ""))
    return Opinion(names=list(message.keys()), subject=subject, people=people, tree=tree), faults


def _pairs(value: str) -> list[tuple[str, str]]:
    """Return names and addresses. The strict mode of newer versions takes every address literal for a mistake."""
    if "@[" in value and "strict" in signature(email.utils.getaddresses).parameters:
        return email.utils.getaddresses([value], strict=False)
    return email.utils.getaddresses([value])


def _unfolded(value: str) -> str:
    """Return a field's value; octets beyond ASCII come as surrogates."""
    return _FOLD.sub("", value).encode("ascii", "surrogateescape").decode("utf-8", "replace")


def _words(value: str) -> str:
    return str(email.header.make_header(email.header.decode_header(value))) if "=?" in value else value


def _address(shown: str, spec: str) -> Address:
    local, _, domain = spec.rpartition("@")
    if local.startswith('"'):
        local = _ESCAPED.sub(r"\1", local[1:-1])
    return _words(shown), local, domain


def _tree_of_python(part: Message, faults: list[str]) -> Any:
    faults += [f"third parser: {defect!r}" for defect in part.defects]
    media_type = part.get_content_type()
    payload = part.get_payload()
    if media_type.startswith("multipart/"):
        children = [child for child in payload if isinstance(child, Message)]
        return media_type, [_tree_of_python(child, faults) for child in children]
    if isinstance(payload, list):  # a message in the message, which was parsed too
        inner: Any = payload[0]
        # An empty one is written back with the empty line that ends a header section.
        content = inner.as_bytes(policy=_AS_WRITTEN) if inner.keys() or inner.get_payload() else b""
    else:
        content = part.get_payload(decode=True)
    return media_type, _file_name(part), part.get("Content-ID", ""), _digest(content)


def _file_name(part: Message) -> str | None:
    """Return the name; `get_filename` would strip blanks that belong to it, and take < > for quotes."""
    value = part.get_param("filename", header="Content-Disposition", unquote=False)
    if isinstance(value, tuple):
        charset, _, text = value
        return _ESCAPED.sub(r"\1", text[1:-1]).encode("latin-1").decode(charset or "ascii")
    if value is None or not value.startswith('"'):
        return value
    return _ESCAPED.sub(r"\1", value[1:-1])
