"""One job put to the test: composed, read by three readers, compared with what it has to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maildrop.mail.envelope import Defaults, Limits, parse_envelope
from maildrop.mail.message import Message, compose
from tests.fuzz.mail.expectation import differences
from tests.fuzz.mail.jobs import Job
from tests.fuzz.mail.opinions import Opinion, SecondParser, own_opinion, third_opinion
from tests.fuzz.mail.reader import read_message

LIMITS = Limits(envelope_octets=1 << 22)  # three hundred people with long names do not fit the default


@dataclass(frozen=True, slots=True)
class MemorySource:
    """A file of a job that lies in memory."""

    name: str
    content: bytes

    @property
    def size(self) -> int:
        """Octets of the content."""
        return len(self.content)

    def read(self) -> bytes:
        """Return the content."""
        return self.content

    def chunks(self, slice_octets: int) -> Iterator[bytes]:
        """Yield the content in slices."""
        for start in range(0, len(self.content), slice_octets):
            yield self.content[start : start + slice_octets]


def composed(job: Job) -> tuple[Message, bytes]:
    """Make the message of a job; raises InvalidJob where the program refuses it."""
    mail = parse_envelope(job.envelope, files=job.files, defaults=Defaults(), limits=LIMITS)

    def open_source(path: str) -> MemorySource:
        return MemorySource(path, job.files[path])

    message = compose(mail.content, job.identity, open_source=open_source, limits=LIMITS)
    return message, b"".join(message.chunks())


def violations(job: Job, octets: bytes, second: SecondParser) -> list[str]:
    """Return everything that is wrong with the octets of a job's message: one sentence each."""
    second.give(octets)
    try:
        part, faults = read_message(octets, allow_utf8=job.expected.utf8)
        found = [f"octets: {fault}" for fault in faults]
        found += [f"content: {difference}" for difference in differences(part, job.expected)]
        own = own_opinion(part)
        third, complaints = third_opinion(octets)
        found += complaints + _disagreements("third", third, own)
    finally:  # whatever happens: the next answer has to be that to the next message
        other, complaints = second.answer()
    return found + complaints + _disagreements("second", other, own)


def check(job: Job, second: SecondParser) -> tuple[bytes, list[str]]:
    """Compose a job and read its message back; returns the octets and all violations."""
    message, octets = composed(job)
    found = violations(job, octets, second)
    if message.size != len(octets):
        found.append(f"size is {message.size}, but there are {len(octets)} octets")
    if ("SMTPUTF8" in message.needs) != job.expected.utf8:
        found.append(f"needs {sorted(message.needs)}")
    return octets, found


def _disagreements(which: str, other: Opinion, own: Opinion) -> list[str]:
    return [
        f"{which} parser: {what} {theirs!a:.300} instead of {ours!a:.300}"
        for what, theirs, ours in (
            ("fields", other.names, own.names),
            ("subject", other.subject, own.subject),
            ("people", other.people, own.people),
            ("tree", other.tree, own.tree),
        )
        if theirs != ours
    ]
