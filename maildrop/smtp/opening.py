"""The way into a session: greeting, EHLO or HELO, STARTTLS, AUTH. RFC 5321 section 4.1.1.1, RFC 3207, RFC 4954."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import ClassVar

from maildrop.smtp.auth import KNOWN_MECHANISMS, choose
from maildrop.smtp.conversation import Conversation, Row
from maildrop.smtp.extensions import Extensions, read_extensions
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
            self._say(Step.EHLO, b"EHLO " + self._hostname)

    def _greeted(self, _step: Step, _reply: Reply) -> None:
        self._say(Step.EHLO, b"EHLO " + self._hostname)

    def _hello_refused(self, step: Step, reply: Reply) -> None:
        if reply.code in (500, 502, 504):
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
        if not (self.encrypted or self._plaintext_auth):
            self._break("a password is not sent without TLS", stage=Stage.AUTH, configuration=True)
            return
        self._mechanism = choose(self.extensions.auth, self._credentials)
        if self._mechanism is None:
            offered = ", ".join(self.extensions.auth) or "none"
            known = ", ".join(self._credentials.mechanisms or KNOWN_MECHANISMS)
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

    TABLE: ClassVar[Mapping[Step, Row]] = {
        #                2yz             3yz          4yz       5yz             421
        Step.GREETING:  (_greeted,       _nonsense,   _refused, _refused,       _refused),
        Step.EHLO:      (_learn,         _nonsense,   _refused, _hello_refused, _refused),
        Step.HELO:      (_learn,         _nonsense,   _refused, _refused,       _refused),
        Step.STARTTLS:  (_start_tls,     _nonsense,   _no_tls,  _no_tls,        _refused),
        Step.AUTH:      (_authenticated, _challenged, _refused, _refused,       _refused),
    }  # fmt: skip
