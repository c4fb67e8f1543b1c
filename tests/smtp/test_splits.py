"""The octets of every dialog through the bare machine, cut into segments in every way: nothing may depend on that."""

from __future__ import annotations

import codecs
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

from maildrop.smtp import SessionFailed, SessionLost, Transcript
from maildrop.smtp.protocol import Client
from maildrop.smtp.steps import Fault, Phase
from maildrop.smtp.transaction import Progress
from tests.smtp.dialog import NAMES, Dialog, judge, judge_failure

_OCTET_BY_OCTET = 20_000  # in longer streams a cut at each place takes too long
_SPLITS = 4
_UNLIKE = ("nothing had asked for", "somebody is injecting")  # noticed at the first octet, before there is a reply


class Split:
    """Cuts octets into segments: not at all (0), after each octet (1), or at random places by a seed."""

    def __init__(self, kind: int) -> None:
        self._kind = kind
        self._dice = random.Random(kind)

    def cut(self, octets: bytes) -> Iterator[bytes]:
        """Yield the segments."""
        places = [0, len(octets)]
        if self._kind == 1 and len(octets) <= _OCTET_BY_OCTET:
            places = list(range(len(octets) + 1))
        elif self._kind:
            places = sorted({0, len(octets), *(self._dice.randrange(len(octets) + 1) for _ in range(9))})
        for start, end in pairwise(places):
            yield octets[start:end]


class Play:
    """One dialog between its script and a machine; what the session does is done here, without sockets."""

    def __init__(self, dialog: Dialog, split: Split) -> None:
        self.dialog = dialog
        self._split = split
        self.transcripts = [Transcript()]
        self.client = Client(
            hostname="client.example",
            security=dialog.security,
            transcript=self.transcripts[0],
            credentials=dialog.credentials,
            plaintext_auth=dialog.plaintext_auth,
            lmtp=dialog.lmtp,
        )
        self.said = bytearray()
        self._begun: list[Progress] = []
        self._was_ready = False
        self._messages = 2 if "follow" in dialog.settings else int(dialog.settings.get("messages", 1))

    def play(self) -> None:
        """Follow the script to its end."""
        stream = b""
        for line in self.dialog.script.splitlines():
            verb, _, rest = line.partition(": ")
            more = _octets(verb, rest)
            if more is not None:
                stream += more
                continue
            self._hear(stream)
            stream = b""
            self._follow(verb, rest)
        self._hear(stream)
        self.client.lose("over")

    @property
    def verdict(self) -> str:
        """Return what it came to, in the words of a dialog; whether the session goes on is left out."""
        fault = self.client.fault or Fault(stage=self.client.stage, what="")
        if not self._was_ready:
            return judge_failure(SessionFailed("test", fault))
        found = []
        for number, progress in enumerate(self._begun):
            stale = number > 0 and progress.mail is None
            lost = SessionLost("test", fault, in_doubt=progress.in_doubt, stale=stale, result=progress.result)
            found.append(judge(progress.result if progress.concluded else lost, usable=False))
        while len(found) < self._messages:
            found.append(f"lost {fault.stage} stale")
        return " | ".join(words.partition(";")[0] for words in found)

    def _hear(self, octets: bytes) -> None:
        for segment in self._split.cut(octets):
            self.client.receive(segment)
        self._act()

    def _follow(self, verb: str, rest: str) -> None:
        if verb.split(maxsplit=1)[0] in ("silence", "close", "reset", "half-close", "deaf", "tls-refused"):
            self.client.lose("gone")
        elif verb.startswith("tls ") and self.client.phase is Phase.TLS:
            self.client.tls_established()
        elif verb == "C" and rest[:2] in ("<m", "<c") and self.client.phase is Phase.BODY:
            size = len(self.dialog.messages[int("2" in rest)])
            self.said += self.client.announce(size)
            self.client.handed_over(size)
        self._act()

    def _act(self) -> None:
        client = self.client
        self._was_ready |= client.phase is Phase.READY
        behind = "follow" in self.dialog.settings and client.takes_another
        if client.phase is Phase.READY and len(self._begun) == self._messages:
            client.quit()
        elif client.phase is Phase.READY or (behind and len(self._begun) < self._messages):
            number = len(self._begun) if "follow" in self.dialog.settings else 0
            self.transcripts.append(Transcript())
            self._begun.append(client.begin(self.dialog.transaction([], number, self.transcripts[-1])))
        self.said += client.take_output()


def _octets(verb: str, rest: str) -> bytes | None:
    """Return what a line of a script sends, None if it does something else."""
    name, _, count = verb.partition(" ")
    line = rest.encode() + b"\r\n"
    if name in ("S", "raw"):
        return codecs.escape_decode(rest.encode())[0] + (b"\r\n" if name == "S" else b"")
    if name in ("times", "endless"):
        return line * int(count or 20_000)
    if name == "long":
        return rest.encode() + b"x" * int(count) + b"\r\n"
    return rest.encode() if name == "drip" else None


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("handshake-fails")])
def test_no_segment_matters(name: str) -> None:
    """However a server's octets are cut, the verdict is that of the dialog and both sides' words are the same."""
    dialog = Dialog.read(name)
    plays = [Play(dialog, Split(kind)) for kind in range(_SPLITS)]
    for play in plays:
        play.play()
    verdict = " | ".join(words.partition(";")[0] for words in dialog.verdict.split(" | "))
    if dialog.settings.get("follow") == "canceled":
        verdict = verdict.replace("canceled", plays[0].verdict.partition(" | ")[2])
    assert [play.verdict for play in plays] == [verdict] * _SPLITS
    texts = [[transcript.text() for transcript in play.transcripts] for play in plays]
    if not any(words in text for play in texts for text in play for words in _UNLIKE):
        assert texts == texts[:1] * _SPLITS
        nonces = b"SCRAM" in plays[0].said  # new ones each time
        assert nonces or len({bytes(play.said) for play in plays}) == 1
