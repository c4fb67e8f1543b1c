"""A dialog file taken apart: what the client is told to do, what the server does, and outcomes in words."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Iterable, Iterator

from maildrop.smtp import (
    Credentials,
    Endpoint,
    Notify,
    Reply,
    Secret,
    Security,
    SessionFailed,
    SessionLost,
    Timeouts,
    Transaction,
    TransactionResult,
    Transcript,
)
from maildrop.smtp.transaction import tell_nobody

DIALOGS = os.path.join(os.path.dirname(__file__), os.pardir, "dialogs")
NAMES = sorted(name.removesuffix(".dialog") for name in os.listdir(DIALOGS) if name.endswith(".dialog"))
PASSWORD = "correct horse battery"
MESSAGE = b"Subject: hello\r\n\r\nA line.\r\n.hidden\r\n..twice\r\n"
SECOND = b"Subject: the second\r\n\r\n.\r\n"
_SHORT = dict.fromkeys(("greeting", "tls", "ehlo", "auth", "mail", "rcpt", "data", "block", "data_end"), 4.0)


class Dialog:
    """One file: ``verdict``, ``settings``, ``script``, and the octets that a script may expect by name."""

    def __init__(self, text: str) -> None:
        head, _, self.script = text.partition("\n\n")
        verdict, *lines = [line for line in head.splitlines() if not line.startswith("#")]
        self.verdict = verdict.removeprefix("verdict: ")
        self.settings = dict(line.partition(": ")[::2] for line in lines)
        octets = int(self.settings.get("octets", 0))
        self.messages = (MESSAGE + b"a line of thirty-two octets xx\r\n" * (octets // 32), SECOND)
        self.expected: dict[str, bytes] = {}
        for name, message in zip(("", "2"), self.messages, strict=True):
            self.expected[f"message{name}"] = message.replace(b"\r\n.", b"\r\n..") + b".\r\n"
            self.expected[f"chunk{name}"] = b"BDAT %d LAST\r\n" % len(message) + message

    @classmethod
    def read(cls, name: str) -> Dialog:
        """Read the file of that name."""
        with open(os.path.join(DIALOGS, f"{name}.dialog"), encoding="utf-8") as file:
            return cls(file.read())

    @property
    def security(self) -> Security:
        """How the session is protected."""
        return Security(self.settings.get("security", "none"))

    @property
    def credentials(self) -> Credentials | None:
        """Who the client is, if it is somebody."""
        return Credentials(user="anna", password=Secret(PASSWORD)) if "credentials" in self.settings else None

    @property
    def plaintext_auth(self) -> bool:
        """Whether the password may be sent without TLS."""
        return self.settings.get("credentials") == "plaintext"

    @property
    def lmtp(self) -> bool:
        """Whether LMTP is spoken."""
        return self.settings.get("protocol") == "lmtp"

    def endpoint(self, port: int, context: ssl.SSLContext) -> Endpoint:
        """Return the endpoint that the settings describe."""
        seconds = {
            name.split()[1]: float(value) for name, value in self.settings.items() if name.startswith("timeout ")
        }
        defaults = {} if "timeouts" in self.settings else _SHORT
        return Endpoint(
            relay="test",
            host="localhost" if self.security is not Security.NONE else "127.0.0.1",
            port=port,
            security=self.security,
            hostname="client.example",
            credentials=self.credentials,
            plaintext_auth=self.plaintext_auth,
            tls=None if self.security is Security.NONE else context,
            timeouts=Timeouts(**{**defaults, **seconds}),
            lmtp=self.lmtp,
        )

    def transaction(
        self,
        log: list[str],
        number: int,
        transcript: Transcript | None = None,
        judged: Callable[[], None] = tell_nobody,
    ) -> Transaction:
        """Return the first or second message; prepare and record note themselves in ``log``."""

        async def prepare(result: TransactionResult) -> None:
            assert result.end is None
            assert not result.ends
            log.append("prepared")

        def record(result: TransactionResult) -> None:
            assert result.delivered == result.accepted != ()
            log.append("recorded")

        def chunks() -> Iterator[bytes]:
            yield self.messages[number]

        count = int(self.settings.get("recipients", 1))
        return Transaction(
            reverse_path=("sender@example.org", "sender2@example.org")[number],
            forward_paths=tuple(f"{'rq'[number]}{one}@example.net" for one in range(1, count + 1)),
            size=len(self.messages[number]),
            chunks=chunks,
            all_or_nothing="all-or-nothing" in self.settings,
            notify=Notify(
                conditions=tuple(self.settings.get("notify", "").split()),
                envelope_id=self.settings.get("envelope-id"),
                returned=self.settings.get("return"),
            ),
            prepare=prepare,
            record=record,
            handed_over=judged,
            transcript=transcript,
        )


def judge_failure(failed: SessionFailed) -> str:
    """Put a session that did not come about into the words of a verdict."""
    return f"failed {failed.stage}" + (" configuration" if failed.configuration else "")


def judge(outcome: TransactionResult | SessionLost, *, usable: bool) -> str:
    """Put an outcome into the words of a verdict."""
    after = "usable" if usable else "over"
    if isinstance(outcome, SessionLost):
        words = ["lost", str(outcome.stage)]
        words += [word for word, true in (("in-doubt", outcome.in_doubt), ("stale", outcome.stale)) if true]
        words += ["lacks-chunking"] if outcome.lacks_chunking else []
        words += ["after", _codes(outcome.result.ends.values())] if outcome.result.ends else []
        return f"{' '.join(words)}; {after}"
    if outcome.delivered and outcome.delivered == outcome.accepted:
        count = len(outcome.recipients)
        taken = "" if len(outcome.accepted) == count else f" {len(outcome.accepted)} of {count}"
        return f"accepted{taken}; {after}"
    return f"{_refusal(outcome)}; {after}"


def _refusal(outcome: TransactionResult) -> str:
    if outcome.ends:
        word = "mixed" if outcome.delivered else "refused"
        return f"{word} {outcome.end_stage} {_codes(outcome.ends.values())}"
    if outcome.end is not None:
        return f"refused {outcome.end_stage} {outcome.end.code}"
    if outcome.data is not None:
        return f"refused data {outcome.data.code}"
    if outcome.recipients:
        return f"refused rcpt {_codes(outcome.recipients.values())}"
    assert outcome.mail is not None
    return f"refused mail {outcome.mail.code}"


def _codes(replies: Iterable[Reply]) -> str:
    return " ".join(str(reply.code) for reply in replies)


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time a server's script may put forward."""

    ahead = 0.0

    def time(self) -> float:
        """Return the loop's time in seconds."""
        return super().time() + self.ahead

    def advance(self, seconds: float) -> None:
        """Put the clock forward; for any thread."""

        def forward() -> None:
            self.ahead += seconds

        self.call_soon_threadsafe(forward)
