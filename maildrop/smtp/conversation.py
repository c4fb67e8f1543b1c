"""What the parts of the machine have in common: who speaks, which reply is awaited, and when nothing can be believed.

The base of `maildrop.smtp.opening` and `maildrop.smtp.protocol`; like them without sockets and clocks. Knows no command
by itself, only that each reply belongs to the oldest command that has none yet. RFC 5321 section 4.1.1, RFC 2920.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from maildrop.smtp.auth import Exchange
from maildrop.smtp.credentials import Credentials
from maildrop.smtp.data import slices
from maildrop.smtp.extensions import Extensions
from maildrop.smtp.redactor import Redactor
from maildrop.smtp.reply import Reply, ReplyError, ReplyReader, Stage
from maildrop.smtp.steps import Event, Fault, Phase, Security, Step
from maildrop.smtp.transaction import Progress, argument
from maildrop.smtp.transcript import Transcript

_PIECE_OCTETS = 8 * 1024  # taken apart at once: a flood of short lines costs fifty times its octets meanwhile
_INJECTED = "plaintext behind the reply to STARTTLS: somebody is injecting it"

Action = Callable[[Any, Step, Reply], None]
Row = tuple[Action, Action, Action, Action, Action]  # for 2yz, 3yz, 4yz, 5yz, 421


class Conversation:
    """The client's side of one session, without its vocabulary; see `maildrop.smtp.protocol.Client`."""

    TABLE: ClassVar[Mapping[Step, Row]]

    def __init__(
        self,
        *,
        hostname: str,
        security: Security,
        transcript: Transcript,
        credentials: Credentials | None = None,
        plaintext_auth: bool = False,
        lmtp: bool = False,
        chunking: bool = True,
    ) -> None:
        """``hostname`` is what EHLO says; ``plaintext_auth`` allows AUTH without TLS, ``chunking`` BDAT if offered."""
        self._hostname = argument(hostname).encode("ascii")
        self._security = security
        self._credentials = credentials
        self._plaintext_auth = plaintext_auth
        self._redactor = Redactor(credentials)
        self._exchange: Exchange | None = None
        self._reader = ReplyReader()
        self._awaited = deque([Step.GREETING])
        self._unsent: deque[tuple[Step, bytes]] = deque()
        self._output = bytearray()
        self._events: list[Event] = []
        self.progress = Progress()  # of the transaction whose replies come next
        self._lmtp = lmtp
        self._chunking = chunking
        self.transcript = transcript
        self.phase = Phase.TLS if security is Security.IMPLICIT else Phase.OPENING
        self.extensions = Extensions()
        self.encrypted = False
        self.fault: Fault | None = None
        self.replies = 0

    @property
    def over(self) -> bool:
        """Return whether nothing can be said any more."""
        return self.phase is Phase.OVER

    @property
    def stage(self) -> Stage:
        """Return the stage whose reply is awaited, or that is being worked on."""
        if self.phase is Phase.TLS:
            return Stage.TLS
        if self._awaited:
            return self._awaited[0].stage
        if self.phase is Phase.BODY:
            return Stage.BDAT if self.progress.chunked else Stage.DATA
        return Stage.MAIL

    def take_output(self) -> bytes:
        """Return the octets to be sent now, once."""
        octets = bytes(self._output)
        self._output.clear()
        return octets

    def receive(self, octets: bytes) -> list[Event]:
        """Take what the server sent and return what must be done at once; never raises."""
        self._events = []
        for piece in slices(octets, _PIECE_OCTETS):
            if not self.over:
                self._hear(piece)
        return self._events

    def lose(self, what: str) -> None:
        """Note that the connection is gone (closed, reset, timed out, TLS failed); a first reason stands."""
        if not self.over:
            self._break(what)

    # Inside

    def _hear(self, octets: bytes) -> None:
        try:
            replies = self._reader.feed(octets)
        except ReplyError as error:
            self._break(str(error))
            return
        for reply in replies:
            if not self.over:
                self._take(reply)
        if self._reader.pending and not self.over:
            self._judge_rest()

    def _take(self, reply: Reply) -> None:
        self.replies += 1
        stage = self.stage
        reply = self._redactor.clean(reply, thorough=stage is Stage.AUTH)
        self.transcript.server(self._redactor.veil(reply) if stage is Stage.AUTH else reply)
        if self.phase is Phase.TLS:
            self._break(_INJECTED, reply=reply)
        elif self._awaited or self.phase is Phase.BODY:
            unasked = Step.CHUNK if self.progress.chunked else Step.BODY
            step = self._awaited.popleft() if self._awaited else unasked
            column = 4 if reply.code == 421 else reply.severity - 2
            self.TABLE[step][column](self, step, reply)
            self._advance()
        else:
            self._break("a reply that nothing had asked for", reply=reply)

    def _judge_rest(self) -> None:
        """Judge octets behind the last whole reply: the beginning of one that is awaited, or something is wrong."""
        if self._reader.error is not None:
            self._break(str(self._reader.error))
        elif self.phase is Phase.TLS:
            self._break(_INJECTED)
        elif not self._awaited and self.phase is not Phase.BODY:
            self._break("octets that nothing had asked for")

    def _advance(self) -> None:
        """Send what a reply has made possible."""

    def _say(self, step: Step, line: bytes, *, shown: str | None = None) -> None:
        self._output += line
        self._output += b"\r\n"
        self._awaited.append(step)
        self.transcript.client(line.decode("utf-8", "replace") if shown is None else shown)

    def _break(
        self, what: str, *, reply: Reply | None = None, stage: Stage | None = None, configuration: bool = False
    ) -> None:
        what = self._redactor.hide(what)
        self.fault = Fault(stage=stage or self.stage, what=what, reply=reply, configuration=configuration)
        self.transcript.note(what)
        self.phase = Phase.OVER
        self._unsent.clear()
        self._output.clear()

    # Meanings that several replies share

    def ignored(self, step: Step, reply: Reply) -> None:
        """Let a reply pass that changes nothing."""

    def nonsense(self, step: Step, reply: Reply) -> None:
        """Break the session over a reply that is no answer to what was asked."""
        self._break(f"{reply} is no answer to {step.name}", reply=reply, stage=step.stage)

    def closing(self, step: Step, reply: Reply) -> None:
        """Break the session because the server does: 421."""
        self._break(f"the server closes the session: {reply}", reply=reply, stage=step.stage)

    def refused(self, step: Step, reply: Reply) -> None:
        """Break the session because the server refuses to have one."""
        configuration = reply.is_configuration or (step is Step.AUTH and reply.severity == 5)
        self._break(f"refused: {reply}", reply=reply, stage=step.stage, configuration=configuration)
