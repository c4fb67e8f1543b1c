"""The way into a session: greeting, EHLO or HELO, STARTTLS, AUTH. RFC 5321 section 4.1.1.1, RFC 3207, RFC 4954."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from maildrop.smtp.auth import Exchange
from maildrop.smtp.conversation import Conversation, Row
from maildrop.smtp.credentials import MASK
from maildrop.smtp.extensions import Extensions, read_extensions
from maildrop.smtp.mechanism import MechanismError
from maildrop.smtp.reply import Reply, Stage
from maildrop.smtp.steps import Event, Phase, Security, Step

_nonsense, _refused = Conversation.nonsense, Conversation.refused


class Opening(Conversation):
    """The part of the client that ends in phase READY, or in a fault that is the relay's or the configuration's."""

    def tls_established(self) -> None:
        """Go on after a handshake: what was announced in the clear is forgotten (RFC 3207 section 4.2)."""
        self.encrypted = True
        self.extensions = Extensions()
        self.phase = Phase.OPENING
        if not self._awaited:
            self._say_hello()

    def _greeted(self, _step: Step, _reply: Reply) -> None:
        self._say_hello()

    def _say_hello(self) -> None:
        self._say(Step.EHLO, (b"LHLO " if self._lmtp else b"EHLO ") + self._hostname)

    def _hello_refused(self, step: Step, reply: Reply) -> None:
        if reply.is_unknown_command and not self._lmtp:
            self._say(Step.HELO, b"HELO " + self._hostname)
        else:
            self.refused(step, reply)

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
            self.nonsense(step, reply)

    def _no_tls(self, step: Step, reply: Reply) -> None:
        if self._security is Security.OPPORTUNISTIC:
            self._authenticate()
        else:
            self.refused(step, reply)

    def _authenticate(self) -> None:
        if self._credentials is None:
            self.phase = Phase.READY
            return
        verified = self.encrypted and self._security is not Security.OPPORTUNISTIC
        if not (verified or self._plaintext_auth):
            self._break("a password is not sent without verified TLS", stage=Stage.AUTH, configuration=True)
            return
        self._exchange = Exchange(self.extensions.auth, self._credentials, self._redactor)
        self._try_mechanism(self._exchange)

    def _try_mechanism(self, exchange: Exchange) -> None:
        line = exchange.command()
        if line is None:
            self._break(exchange.why_not, stage=Stage.AUTH, configuration=True)
            return
        verb, mechanism, *initial = line.split(b" ")
        shown = " ".join((verb.decode("ascii"), mechanism.decode("ascii"), *(MASK for _ in initial)))
        self._say(Step.AUTH, line, shown=shown)

    def _challenged(self, step: Step, reply: Reply) -> None:
        try:
            line = self._exchange.respond(reply.lines[0]) if self._exchange and reply.code == 334 else None
        except MechanismError as error:
            self._break(str(error), stage=step.stage, configuration=True)
            return
        if line is None:
            what = f"the server asks for more than the mechanism has to say: {self._redactor.veil(reply)}"
            self._break(what, reply=reply, stage=step.stage, configuration=True)
        else:
            self._say(step, line, shown=MASK)

    def _authenticated(self, step: Step, reply: Reply) -> None:
        try:
            if self._exchange is not None:
                self._exchange.succeed(reply.text)
        except MechanismError as error:
            self._break(str(error), stage=step.stage, configuration=True)
            return
        self._exchange = None
        self.phase = Phase.READY

    def _not_authenticated(self, step: Step, reply: Reply) -> None:
        """Give up, for the secret was refused; go on only where it was the mechanism (RFC 4954 section 6)."""
        exchange = self._exchange
        if exchange is not None and exchange.may_go_on(reply):
            self._try_mechanism(exchange)
            return
        told = "" if exchange is None else exchange.told()
        self._break(f"refused: {reply}{told}", reply=reply, stage=step.stage, configuration=reply.severity == 5)

    TABLE: ClassVar[Mapping[Step, Row]] = {
        #                2yz             3yz          4yz       5yz             421
        Step.GREETING:  (_greeted,       _nonsense,   _refused, _refused,       _refused),
        Step.EHLO:      (_learn,         _nonsense,   _refused, _hello_refused, _refused),
        Step.HELO:      (_learn,         _nonsense,   _refused, _refused,       _refused),
        Step.STARTTLS:  (_start_tls,     _nonsense,   _no_tls,  _no_tls,        _refused),
        Step.AUTH:      (_authenticated, _challenged, _not_authenticated, _not_authenticated, _refused),
    }  # fmt: skip
