"""The machine against a server that says anything, judged by an oracle that only counts commands and replies.

The oracle reads the client's own lines, so it knows which command each reply belongs to without asking the machine.
"""

from __future__ import annotations

import random
import tracemalloc
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildrop.smtp import Credentials, Notify, Secret, Security, Transaction, Transcript
from maildrop.smtp.auth import KNOWN_MECHANISMS
from maildrop.smtp.protocol import Client
from maildrop.smtp.steps import Event, Phase
from maildrop.smtp.transaction import Progress

PASSWORD, TOKEN = "correct horse battery", "ya29.a-token-nobody-may-see"
SECRETS = [
    form
    for text in (PASSWORD, TOKEN, f"\0anna\0{PASSWORD}", f"user=anna\1auth=Bearer {TOKEN}\1\1")
    for form in (text, b64encode(text.encode()).decode())
]
EXTENSIONS = ("PIPELINING", "CHUNKING", "SIZE 1000", "DSN", "STARTTLS", "8BITMIME", "LIMITS RCPTMAX=2")
USUAL = {
    "GREETING": (220,),
    "DATA": (354, 354, 354, 451),
    "STARTTLS": (220,),
    "AUTH": (235, 235, 334, 504),
    "MAIL": (250, 250, 250, 250, 450),
    "BDAT": (*[250] * 9, 550, 451, 500),
    "QUIT": (221,),
}
COMMANDS = ("EHLO", "LHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "DATA", "RSET", "QUIT")
CODES = (200, 220, 221, 235, 250, 251, 334, 354, 421, 450, 451, 452, 500, 502, 503, 504, 530, 534, 535, 550, 552, 554)
UNKNOWN = (500, 502, 504)
TEXTS = ("", "ok", "5.7.9 weak", "r=x", b64encode(b"<1.2@mx>").decode(), b64encode(b"{}").decode())


@dataclass(eq=False)
class Told:
    """What the oracle knows about one transaction."""

    progress: Progress
    transcript: Transcript
    mark: str
    recipients: list[int] = field(default_factory=list)  # codes, one for each RCPT that was answered
    due: int = 0  # replies to the message itself
    ends: list[int] = field(default_factory=list)
    accepted: bool = False
    unknown: bool = False  # BDAT is no command there

    @property
    def in_doubt(self) -> bool:
        """Tell whether the whole message is out and no clear answer to it is there."""
        return self.due > 0 and len(self.ends) < self.due and not self.unknown

    def happened(self) -> dict[str, bool]:
        """Return the kinds of things that can happen to a transaction, and whether they did."""
        progress = self.progress
        return {
            "accepted": self.accepted,
            "refused": progress.concluded and not self.accepted,
            "in doubt": self.in_doubt,
            "in doubt behind another": self.in_doubt and progress.follows,
            "accepted behind another": self.accepted and progress.follows,
            "accepted by BDAT": self.accepted and progress.chunked,
            "accepted for some alone": bool(progress.result.delivered) and not self.accepted,
            "BDAT is unknown": self.unknown,
        }


class RandomServer:
    """A server and a session, led by dice; after each step nothing may be true that must not be."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.security = dice.choice(list(Security))
        self.lmtp, self.plaintext_auth = self.likely(0.3), self.likely(0.3)
        credentials = Credentials(
            user="anna",
            password=Secret(PASSWORD) if self.likely(0.7) else None,
            token=Secret(TOKEN) if self.likely(0.3) else None,
            mechanisms=tuple(self.some(KNOWN_MECHANISMS, 0.4)),
        )
        self.encrypted = self.was_over = False
        self.opening = Transcript()
        self.client = Client(
            hostname="client.example",
            security=self.security,
            transcript=self.opening,
            credentials=credentials if self.likely(0.3) else None,
            plaintext_auth=self.plaintext_auth,
            lmtp=self.lmtp,
        )
        self.asked: deque[tuple[str, Told | None]] = deque([("GREETING", None)])
        self.told: list[Told] = []
        self.kinds: set[str] = set()

    def likely(self, probability: float) -> bool:
        """Throw the dice."""
        return self.dice.random() < probability

    def some(self, of: Sequence[str], probability: float) -> list[str]:
        """Choose some."""
        return [one for one in of if self.likely(probability)]

    def step(self) -> None:
        """Let something happen: on one side or on the other."""
        client = self.client
        if self.likely(0.03):
            self.say(self.dice.choice(CODES), [self.dice.choice(TEXTS) for _ in range(self.dice.randint(1, 3))])
        elif self.likely(0.003):
            octets = self.dice.randbytes(20)
            assert client.receive(octets + b"!\r\n") == []
            assert client.over
        elif self.likely(0.003):
            client.lose("the line broke")
            assert client.over
        elif client.phase is Phase.TLS:
            client.tls_established()
            self.encrypted = True
            self.listen()
        elif client.phase is Phase.READY and self.likely(0.03):
            client.quit()
            self.listen()
        elif client.phase is Phase.READY or (client.takes_another and self.likely(0.5)):
            self.begin()
        elif client.phase is Phase.BODY:
            self.hand_over()
        elif self.asked:
            self.answer(self.asked[0][0])
        self.check()

    # What the session does

    def begin(self) -> None:
        """Begin a transaction, maybe behind a message that is being judged."""
        mark, transcript, count = f"job{len(self.told)}.example", Transcript(), self.dice.randint(1, 3)
        transaction = Transaction(
            reverse_path=f"s@{mark}",
            forward_paths=tuple(f"r{number}@{mark}" for number in range(count)),
            size=100,
            chunks=lambda: iter(()),
            all_or_nothing=self.likely(0.2),
            notify=Notify(conditions=("FAILURE",), envelope_id="x"),
            transcript=transcript,
        )
        progress = self.client.begin(transaction)
        self.told.append(Told(progress, transcript, mark))
        self.listen()

    def hand_over(self) -> None:
        """Give the whole message to the kernel."""
        client = self.client
        one = next(one for one in self.told if one.progress is client.progress)
        assert not self.asked, "a message goes out only when everything before it was answered"
        assert any(code // 100 == 2 for code in one.recipients)
        said = client.announce(100)
        assert said == (b"BDAT 100 LAST\r\n" if one.progress.chunked else b"")
        client.handed_over(100)
        one.due = sum(code // 100 == 2 for code in one.recipients) if self.lmtp else 1
        self.asked.extend([("BDAT" if one.progress.chunked else "END", one)] * one.due)

    # What the server says

    def answer(self, kind: str) -> None:
        """Answer as a server does that means well."""
        if kind in ("EHLO", "LHLO"):
            auth = " ".join(["AUTH", *self.some(KNOWN_MECHANISMS, 0.6)])
            self.say(250, ["mx.example", *self.some((*EXTENSIONS, auth), 0.9)])
            return
        current = self.client.progress
        refused = current.mail_refused or (kind == "DATA" and current.all_answered and not current.accepted)
        usual = (503,) if kind in ("RCPT", "DATA") and refused else USUAL.get(kind, (250, 250, 250, 250, 450, 550))
        self.say(self.dice.choice(usual), [self.dice.choice(TEXTS)])

    def say(self, code: int, lines: list[str]) -> None:
        """Feed one whole reply, in two segments, and let the oracle draw its conclusions."""
        if self.asked and (one := self.asked[0][1]) is not None:
            lines = [*lines, one.mark]  # so that a reply in another's transcript is found
        marks = "-" * (len(lines) - 1) + " "
        octets = "".join(f"{code}{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True)).encode()
        was_over, was_tls, in_body = self.client.over, self.client.phase is Phase.TLS, self.client.phase is Phase.BODY
        events = [*self.client.receive(octets[:5]), *self.client.receive(octets[5:])]
        if was_over:
            assert events == []
        elif was_tls or not (self.asked or in_body):
            assert self.client.over, "a reply that nobody had asked for"
        elif self.asked:
            self.conclude(code, *self.asked.popleft(), events)
        else:
            assert code // 100 not in (2, 3) or self.client.over
            self.refuse_early(code)
            assert Event.ACCEPTED not in events
        self.listen()

    def conclude(self, code: int, kind: str, one: Told | None, events: list[Event]) -> None:
        """Note what a reply means for the transaction whose command it answers."""
        assert (Event.START_TLS in events) == (kind == "STARTTLS" and code == 220)
        accepts = False
        if one is not None and kind == "RCPT":
            one.recipients.append(code)
        elif one is not None and kind in ("END", "BDAT"):
            if kind == "BDAT" and code in UNKNOWN and not one.ends:
                one.unknown = True
            elif code // 100 != 3:
                one.ends.append(code)
            accepts = len(one.ends) == one.due and all(end // 100 == 2 for end in one.ends)
            one.accepted |= accepts
        assert (events.count(Event.ACCEPTED) == 1) == accepts, "accepted, but not by its own replies (or not told)"

    def refuse_early(self, code: int) -> None:
        """Note that the message was stopped on its way: nothing of it can be in doubt."""
        progress = self.client.progress
        assert self.client.over
        assert not progress.in_doubt
        assert progress.concluded == (code // 100 in (4, 5) and code != 421 and not self._lacks_chunking(code))

    def _lacks_chunking(self, code: int) -> bool:
        return self.client.progress.chunked and code in UNKNOWN

    def listen(self) -> None:
        """Read what the client says; each line wants one reply."""
        said = self.client.take_output().decode()
        if self.client.over:
            assert said == "", "something was said after the end"
        for line in said.splitlines():
            word = line.split()[0] if line.strip() else ""
            kind = word if word in COMMANDS else "EMPTY" if line == "." else "AUTH"
            if kind == "AUTH":
                verified = self.encrypted and self.security is not Security.OPPORTUNISTIC
                assert verified or self.plaintext_auth, "AUTH without verified TLS"
            self.kinds.add(kind)
            self.asked.append((kind, self.told[-1] if kind in ("MAIL", "RCPT", "DATA") else None))

    # What must always be true

    def check(self) -> None:
        """Check that doubts are exact, transcripts tell no secret and nothing of others, and the end is the end."""
        client = self.client
        for one in self.told:
            assert one.progress.in_doubt == one.in_doubt
            if one.progress.concluded and one.progress.mail_refused:
                assert not any(code // 100 == 2 for code in one.recipients), "MAIL refused, and a recipient accepted"
            assert bool(one.progress.result.delivered) == any(end // 100 == 2 for end in one.ends)
        texts = [self.opening.text(), *(one.transcript.text() for one in self.told)]
        fault = "" if client.fault is None else client.fault.what
        assert not any(secret in text for secret in SECRETS for text in (*texts, fault))
        for number, one in enumerate(self.told):
            assert not any(one.mark in text for place, text in enumerate(texts) if place != number + 1)
        assert client.over or not self.was_over
        assert not client.over or client.fault is not None
        self.was_over = client.over

    def reached(self) -> Iterator[str]:
        """Yield what has happened, so that a test can tell whether it has seen anything."""
        for one in self.told:
            yield from (name for name, true in one.happened().items() if true)
        if "AUTH" in self.kinds and self.told:
            yield "authenticated"
        if self.encrypted and self.told:
            yield "encrypted"


def walk(dice: random.Random) -> RandomServer:
    """Hold one conversation."""
    server = RandomServer(dice)
    for _ in range(60):
        server.step()
        if server.client.over:
            break
    for _ in range(3):
        server.step()
    return server


@settings(max_examples=300, deadline=None)
@given(dice=st.randoms(use_true_random=False))
def test_a_server_led_by_hypothesis(dice: random.Random) -> None:
    """No exception, no acceptance without its own 2yz, no doubt that is none, no secret outside of TLS."""
    walk(dice)


def test_fifteen_hundred_servers_led_by_dice() -> None:
    """The same for walks that are known to get everywhere."""
    reached: Counter[str] = Counter()
    for seed in range(1500):
        try:
            reached.update(walk(random.Random(seed)).reached())
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
    assert len(reached) == 10, reached
    assert min(reached.values()) > 5, reached


FLOODS = (b"x" * 65536, b"250-" + b"x" * 200 + b"\r\n", b"250-\r\n", b"\0" * 65536, b"2", b"250 ok\r\n" * 3000)


@pytest.mark.parametrize("flood", FLOODS, ids=range(len(FLOODS)))
@pytest.mark.parametrize("phase", [Phase.OPENING, Phase.TLS, Phase.FLIGHT, Phase.BODY, Phase.END, Phase.QUITTING])
def test_a_flood_costs_no_memory(flood: bytes, phase: Phase) -> None:
    """Whatever is poured into the machine in whichever phase, it keeps little of it."""
    client = Client(hostname="client.example", security=Security.STARTTLS, transcript=Transcript())
    said = {
        Phase.OPENING: b"220 mx\r\n",
        Phase.TLS: b"250-mx\r\n250 STARTTLS\r\n220 go\r\n",
        Phase.FLIGHT: b"250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n",
        Phase.BODY: b"250 ok\r\n250 ok\r\n",
        Phase.END: b"",
        Phase.QUITTING: b"250 ok\r\n",
    }
    for reached, octets in said.items():
        client.receive(octets)
        if reached is Phase.FLIGHT:
            client.begin(Transaction(reverse_path="", forward_paths=("a@b.example",), size=1, chunks=lambda: iter(())))
        elif reached is Phase.END:
            client.handed_over(1)
        elif reached is Phase.QUITTING:
            client.quit()
        if reached is phase:
            break
        if reached is Phase.TLS:
            client.tls_established()
    assert client.phase is phase
    segment = flood * max(1, 262144 // len(flood))  # as much as asyncio reads at once
    tracemalloc.start()
    try:
        for _ in range(40):
            client.receive(segment)
        kept, peak = tracemalloc.get_traced_memory()
        assert kept < 300_000
        assert peak < 1_000_000
    finally:
        tracemalloc.stop()
