"""What comes next in the conversation? The client as a machine: octets in; octets, events and a phase out.

`Client` has no socket, no clock and no TLS of its own, so every conversation a server can think of is tried in tests
without a network. Its heart is one table: which command was answered, by what kind of reply, and what that means. What
the table does not know breaks the session, because a reply that is guessed at shifts all later ones by one.

Three facts are kept exact, since duplicates and lost mail hang on them: ``concluded`` (the transaction has its clear
answer), ``in_doubt`` (the final dot may have been read and no whole reply came back) and the event ``ACCEPTED``, given
once, on a 2yz after the final dot and on nothing else. RFC 5321, 2920 (PIPELINING), 3207 (STARTTLS), 4954 (AUTH).
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from typing import ClassVar

from maildrop.smtp.auth import KNOWN_MECHANISMS, Credentials, Mechanism, Redactor, choose
from maildrop.smtp.extensions import Extensions, read_extensions
from maildrop.smtp.reply import Reply, ReplyError, ReplyReader, Stage
from maildrop.smtp.steps import Event, Fault, Phase, Security, Step
from maildrop.smtp.transaction import Progress, Transaction, TransactionResult, argument, mail_command, rcpt_commands
from maildrop.smtp.transcript import Transcript

_INJECTED = "plaintext behind the reply to STARTTLS: somebody is injecting it"


class Client:
    """The client's side of one session."""

    def __init__(
        self,
        *,
        hostname: str,
        security: Security,
        transcript: Transcript,
        credentials: Credentials | None = None,
        plaintext_auth: bool = False,
    ) -> None:
        """``hostname`` is what EHLO says; ``plaintext_auth`` allows AUTH without TLS."""
        self._hostname = argument(hostname).encode("ascii")
        self._security = security
        self._credentials = credentials
        self._plaintext_auth = plaintext_auth
        self._redactor = Redactor(credentials)
        self._mechanism: Mechanism | None = None
        self._reader = ReplyReader()
        self._awaited = deque([Step.GREETING])
        self._unsent: deque[tuple[Step, bytes]] = deque()
        self._output = bytearray()
        self._events: list[Event] = []
        self._progress = Progress()
        self.transcript = transcript
        self.phase = Phase.TLS if security is Security.IMPLICIT else Phase.OPENING
        self.extensions = Extensions()
        self.encrypted = False
        self.fault: Fault | None = None
        self.replies = 0

    # What the outside may ask and tell

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
        return Stage.DATA if self.phase is Phase.BODY else Stage.MAIL

    @property
    def concluded(self) -> bool:
        """Return whether the transaction has its clear answer: accepted or refused, in ``result``."""
        return self._progress.concluded

    @property
    def in_doubt(self) -> bool:
        """Return whether the final dot may have reached the server and no whole reply to it was read."""
        return self._progress.dot_handed_over and not self._progress.concluded

    @property
    def result(self) -> TransactionResult:
        """Return the replies of the transaction so far."""
        return self._progress.result

    def take_output(self) -> bytes:
        """Return the octets to be sent now, once."""
        octets = bytes(self._output)
        self._output.clear()
        return octets

    def receive(self, octets: bytes) -> list[Event]:
        """Take what the server sent and return what must be done at once; never raises."""
        self._events = []
        if self.phase is Phase.OVER:
            return self._events
        try:
            replies = self._reader.feed(octets)
        except ReplyError as error:
            self._break(str(error))
            return self._events
        for reply in replies:
            if not self.over:
                self._take(reply)
        if self._reader.pending and not self.over:
            self._judge_rest()
        return self._events

    def tls_established(self) -> None:
        """Go on after a handshake: what was announced in the clear is forgotten (RFC 3207 section 4.2)."""
        self.encrypted = True
        self.extensions = Extensions()
        self.phase = Phase.OPENING
        if not self._awaited:
            self._say(Step.EHLO, b"EHLO " + self._hostname)

    def begin(self, transaction: Transaction) -> None:
        """Open a transaction in phase READY; ValueError for what no caller may pass (controls, missing extensions)."""
        if self.phase is not Phase.READY:
            raise ValueError(f"a transaction can't begin in phase {self.phase.name}")
        self._unsent.append((Step.MAIL, mail_command(transaction, self.extensions)))
        self._unsent.extend((Step.RCPT, line) for line in rcpt_commands(transaction))
        if self.extensions.pipelining and not transaction.all_or_nothing:
            self._unsent.append((Step.DATA, b"DATA"))
        self._progress = Progress(paths=transaction.forward_paths, all_or_nothing=transaction.all_or_nothing)
        self.phase = Phase.FLIGHT
        self._advance()

    def dot_handed_over(self, message_octets: int) -> None:
        """Note that the whole terminator was given to the kernel: from here on only a reply ends the doubt."""
        self._progress.dot_handed_over = True
        self.phase = Phase.END
        self._awaited.append(Step.END)
        self.transcript.client(f"<{message_octets} octets>")

    def quit(self) -> None:
        """Take leave; for a client that is ready or settling."""
        self.phase = Phase.QUITTING
        self._say(Step.QUIT, b"QUIT")

    def lose(self, what: str) -> None:
        """Note that the connection is gone (closed, reset, timed out, TLS failed); a first reason stands."""
        if not self.over:
            self._break(what)

    # Inside

    def _take(self, reply: Reply) -> None:
        self.replies += 1
        stage = self.stage
        reply = self._redactor.clean(reply, thorough=stage is Stage.AUTH)
        self.transcript.server(reply)
        if self.phase is Phase.TLS:
            self._break(_INJECTED, reply=reply)
        elif self._awaited or self.phase is Phase.BODY:
            step = self._awaited.popleft() if self._awaited else Step.BODY
            column = 4 if reply.code == 421 else reply.severity - 2
            self._TABLE[step][column](self, step, reply)
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
        """Send what may be sent now; once a concluded transaction has nothing left over, become ready again."""
        if self.phase is Phase.SETTLING and not self._awaited:
            if self._progress.must_reset:
                self._progress.must_reset = False
                self._say(Step.RSET, b"RSET")
            else:
                self.phase = Phase.READY
        while self._unsent and (self.extensions.pipelining or not self._awaited):
            self._say(*self._unsent.popleft())

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

    def _conclude(self) -> None:
        self._progress.concluded = True
        self._unsent.clear()
        self.phase = Phase.SETTLING

    # What a reply means: the entries of the table below

    def _ignored(self, step: Step, reply: Reply) -> None:
        pass

    def _nonsense(self, step: Step, reply: Reply) -> None:
        self._break(f"{reply} is no answer to {step.name}", reply=reply, stage=step.stage)

    def _closing(self, step: Step, reply: Reply) -> None:
        self._break(f"the server closes the session: {reply}", reply=reply, stage=step.stage)

    def _refused(self, step: Step, reply: Reply) -> None:
        configuration = reply.is_configuration or (step is Step.AUTH and reply.severity == 5)
        self._break(f"refused: {reply}", reply=reply, stage=step.stage, configuration=configuration)

    def _left(self, step: Step, _reply: Reply) -> None:
        self._break("the session has ended", stage=step.stage)

    def _greeted(self, _step: Step, _reply: Reply) -> None:
        self._say(Step.EHLO, b"EHLO " + self._hostname)

    def _hello_refused(self, step: Step, reply: Reply) -> None:
        if reply.code in (500, 502, 504):
            self._say(Step.HELO, b"HELO " + self._hostname)
        else:
            self._refused(step, reply)

    def _learn(self, step: Step, reply: Reply) -> None:
        self.extensions = read_extensions(reply) if step is Step.EHLO else Extensions()
        if self.encrypted or self._security is Security.NONE:
            self._authenticate()
        elif self.extensions.starttls:
            self._say(Step.STARTTLS, b"STARTTLS")
        elif self._security is Security.OPPORTUNISTIC:
            self._authenticate()
        else:
            self._break("the server does not offer STARTTLS", stage=Stage.STARTTLS, configuration=True)

    def _start_tls(self, step: Step, reply: Reply) -> None:
        if reply.code == 220:
            self.phase = Phase.TLS
            self._events.append(Event.START_TLS)
        else:
            self._nonsense(step, reply)

    def _no_tls(self, step: Step, reply: Reply) -> None:
        if self._security is Security.OPPORTUNISTIC:
            self._authenticate()
        else:
            self._refused(step, reply)

    def _authenticate(self) -> None:
        if self._credentials is None:
            self.phase = Phase.READY
            return
        if not (self.encrypted or self._plaintext_auth):
            self._break("a password is not sent without TLS", stage=Stage.AUTH, configuration=True)
            return
        self._mechanism = choose(self.extensions.auth, self._credentials)
        if self._mechanism is None:
            offered, known = ", ".join(self.extensions.auth) or "none", ", ".join(KNOWN_MECHANISMS)
            what = f"no common AUTH mechanism: the server offers {offered}; expected one of {known}"
            self._break(what, stage=Stage.AUTH, configuration=True)
            return
        line, initial = f"AUTH {self._mechanism.name}", self._mechanism.initial()
        if initial is None:
            self._say(Step.AUTH, line.encode("ascii"))
        else:
            self._say(Step.AUTH, line.encode("ascii") + b" " + b64encode(initial), shown=f"{line} ***")

    def _challenged(self, step: Step, reply: Reply) -> None:
        response = self._mechanism.respond(reply.text) if self._mechanism and reply.code == 334 else None
        if response is None:
            what = f"the server asks for more than the mechanism has to say: {reply}"
            self._break(what, reply=reply, stage=step.stage, configuration=True)
        else:
            self._say(step, b64encode(response), shown="***")

    def _authenticated(self, _step: Step, _reply: Reply) -> None:
        self._mechanism = None
        self.phase = Phase.READY

    def _mail_taken(self, _step: Step, reply: Reply) -> None:
        self._progress.mail = reply
        self._progress.must_reset = True

    def _mail_refused(self, _step: Step, reply: Reply) -> None:
        self._progress.mail = reply
        self._conclude()

    def _recipient_answered(self, _step: Step, reply: Reply) -> None:
        progress = self._progress
        if progress.concluded:  # MAIL was refused: what is said about its recipients only echoes that
            return
        progress.recipients[progress.paths[len(progress.recipients)]] = reply
        if not progress.all_answered:
            return
        if not progress.worth_data:
            self._conclude()
        elif not (self._awaited or self._unsent):
            self._unsent.append((Step.DATA, b"DATA"))

    def _go_ahead(self, step: Step, reply: Reply) -> None:
        if reply.code != 354:
            self._nonsense(step, reply)
        elif self._progress.concluded:  # DATA was pipelined behind recipients that were all refused
            self._progress.must_reset = False
            self._say(Step.EMPTY_END, b".")
        else:
            self._progress.data = reply
            self.phase = Phase.BODY

    def _data_refused(self, _step: Step, reply: Reply) -> None:
        if not self._progress.concluded:
            self._progress.data = reply
            self._conclude()

    def _stopped(self, step: Step, reply: Reply) -> None:
        self._answered(step, reply)
        self._break(f"refused while the message was being sent: {reply}", reply=reply, stage=step.stage)

    def _answered(self, _step: Step, reply: Reply) -> None:
        self._progress.end = reply
        self._progress.concluded = True
        self.phase = Phase.READY

    def _accepted(self, step: Step, reply: Reply) -> None:
        self._answered(step, reply)
        self._events.append(Event.ACCEPTED)

    def _answered_closing(self, step: Step, reply: Reply) -> None:
        self._answered(step, reply)
        self._closing(step, reply)

    _Action = Callable[["Client", Step, Reply], None]
    _TABLE: ClassVar[Mapping[Step, tuple[_Action, _Action, _Action, _Action, _Action]]] = {
        #                2yz                  3yz          4yz                  5yz                  421
        Step.GREETING:  (_greeted,            _nonsense,   _refused,            _refused,            _refused),
        Step.EHLO:      (_learn,              _nonsense,   _refused,            _hello_refused,      _refused),
        Step.HELO:      (_learn,              _nonsense,   _refused,            _refused,            _refused),
        Step.STARTTLS:  (_start_tls,          _nonsense,   _no_tls,             _no_tls,             _refused),
        Step.AUTH:      (_authenticated,      _challenged, _refused,            _refused,            _refused),
        Step.MAIL:      (_mail_taken,         _nonsense,   _mail_refused,       _mail_refused,       _closing),
        Step.RCPT:      (_recipient_answered, _nonsense,   _recipient_answered, _recipient_answered, _closing),
        Step.DATA:      (_nonsense,           _go_ahead,   _data_refused,       _data_refused,       _closing),
        Step.BODY:      (_nonsense,           _nonsense,   _stopped,            _stopped,            _closing),
        Step.END:       (_accepted,           _nonsense,   _answered,           _answered,           _answered_closing),
        Step.EMPTY_END: (_ignored,            _nonsense,   _ignored,            _ignored,            _closing),
        Step.RSET:      (_ignored,            _nonsense,   _refused,            _refused,            _refused),
        Step.QUIT:      (_left,               _left,       _left,               _left,               _left),
    }  # fmt: skip
