"""2,000 plain mails composed, beside `EmailMessage` in the same run; and what 100 MB attached take of memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path

from maildrop.mail.envelope import parse_envelope
from maildrop.mail.message import compose, new_identity
from maildrop.mail.model import Defaults, Limits

MESSAGES = int(os.environ.get("BENCH_MESSAGES", "2000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
MOST_MICROSECONDS = 60
REQUIRED_RATIO = 12
ATTACHED_MB = int(os.environ.get("BENCH_ATTACHED_MB", "100"))
MOST_MIB = 6
_BODY = (b"The quick brown fox jumps over the lazy dog, and the invoice is attached to nothing.\n" * 25)[:2048]
_ENVELOPE = b"""\
from = "Invoice Robot <robot@example.com>"
to = ["Alice Example <alice@example.org>", "bob@example.org"]
subject = "Invoice 4711"
"""
_NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)

# Peak memory of a process that composes one message and sends it nowhere; printed in KiB, without and with the file.
_MEMORY = """
import resource, sys
from datetime import UTC, datetime
from maildrop.mail.envelope import parse_envelope
from maildrop.mail.message import compose, new_identity
from maildrop.mail.model import Defaults, Limits

class File:
    def __init__(self, name):
        self.name, self.handle = name, open(name, "rb")
        self.size = self.handle.seek(0, 2)
    def read(self):
        self.handle.seek(0)
        return self.handle.read()
    def chunks(self, octets):
        self.handle.seek(0)
        while piece := self.handle.read(octets):
            yield piece

def sent(envelope, files):
    limits = Limits(message_octets=1 << 40)
    mail = parse_envelope(envelope, files=files, defaults=Defaults(), limits=limits)
    identity = new_identity(domain="host.example", now=datetime.now(UTC), token="0" * 32)
    message = compose(mail.content, identity, open_source=File, limits=limits)
    assert sum(map(len, message.chunks())) == message.size
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

head = b'from = "a@example.com"\\nto = "b@example.org"\\nattachments = ["%s"]'
print(sent(head % b"small.bin", ["small.bin"]), sent(head % b"large.bin", ["large.bin"]))
"""


@dataclass(frozen=True, slots=True)
class Text:
    """The body file in memory: what reading costs is not what is measured."""

    name: str = "body.txt"
    size: int = len(_BODY)

    def read(self) -> bytes:
        """Return the content."""
        return _BODY

    def chunks(self, slice_octets: int) -> Iterator[bytes]:
        """Yield the content."""
        yield _BODY[:slice_octets]


def ours() -> Callable[[int], bytes]:
    """Return what composes the message of a number; the envelope is parsed already."""
    limits = Limits()
    mail = parse_envelope(_ENVELOPE, files=["body.txt"], defaults=Defaults(), limits=limits)
    text = Text()

    def one(number: int) -> bytes:
        identity = new_identity(domain="host.example", now=_NOW, token=f"{number:032x}")
        message = compose(mail.content, identity, open_source=lambda _path: text, limits=limits)
        return b"".join(message.chunks())

    return one


def theirs(number: int) -> bytes:
    """Compose the same with the standard library."""
    message = EmailMessage(policy=SMTP)
    message["Date"] = format_datetime(_NOW)
    message["From"] = "Invoice Robot <robot@example.com>"
    message["To"] = "Alice Example <alice@example.org>, bob@example.org"
    message["Subject"] = "Invoice 4711"
    message["Message-ID"] = f"<{number:032x}@host.example>"
    message.set_content(_BODY.decode())
    return message.as_bytes()


def seconds_each(one: Callable[[int], bytes]) -> float:
    """Return what one message costs, of processor time."""
    started = time.process_time()
    for number in range(MESSAGES):
        one(number)
    return (time.process_time() - started) / MESSAGES


def test_composing_plain_mails() -> None:
    """A plain mail costs at most 60 microseconds beside parsing, a twelfth of what EmailMessage takes."""
    one = ours()
    rounds = [(seconds_each(one), seconds_each(theirs)) for _ in range(ROUNDS)]  # alternating
    mine, stdlib = (statistics.median(column) * 1e6 for column in zip(*rounds, strict=True))
    print(f"\n{MESSAGES} plain mails, median of {ROUNDS}: {mine:.1f} us each; EmailMessage {stdlib:.0f} us,")
    print(f"  {stdlib / mine:.1f} times as much; Python {sys.version.partition(' ')[0]}")
    assert mine <= MOST_MICROSECONDS
    assert stdlib / mine >= REQUIRED_RATIO


def test_memory_of_a_large_attachment(tmp_path: Path) -> None:
    """A hundred megabytes attached add at most 6 MiB to the process that composes and reads out the message."""
    (tmp_path / "small.bin").write_bytes(b"x")
    with (tmp_path / "large.bin").open("wb") as file:
        for _ in range(ATTACHED_MB):
            file.write(os.urandom(1_000_000))
    command = [sys.executable, "-c", _MEMORY]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    print(f"\n{ATTACHED_MB} MB attached: {(after - before) / 1024:.1f} MiB more than a mail of one octet")
    assert after - before <= MOST_MIB * 1024
