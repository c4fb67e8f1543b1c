"""What comes next in the conversation? The client as a machine: octets in; octets, events and a phase out.

`Client` has no socket, no clock and no TLS of its own, so every conversation a server can think of is tried in tests
without a network. Its heart is one table: which command was answered, by what kind of reply, and what that means. What
the table does not know breaks the session, because a reply that is guessed at shifts all later ones by one.

Three facts are kept exact, since duplicates and lost mail hang on them: ``concluded`` (the transaction has its clear
answer), ``in_doubt`` (the final dot may have been read and no whole reply came back) and the event ``ACCEPTED``, given
once, on a 2yz after the final dot and on nothing else. RFC 5321, 2920 (PIPELINING), 3207 (STARTTLS), 4954 (AUTH).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from maildrop.smtp.conversation import Conversation, Row
from maildrop.smtp.opening import Opening
from maildrop.smtp.reply import Reply
from maildrop.smtp.steps import Event, Phase, Step
from maildrop.smtp.transaction import Progress, Transaction, TransactionResult, mail_command, rcpt_commands

_closing, _ignored = Conversation.closing, Conversation.ignored
_nonsense, _refused = Conversation.nonsense, Conversation.refused


class Client(Opening):
    """The client's side of one session, from the greeting to QUIT."""

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

    def begin(self, transaction: Transaction) -> None:
        """Open a transaction in phase READY.

        Raises ValueError for what no caller may pass: control characters, a recipient twice or none, the need for an
        extension that the relay lacks.
        """
        if self.phase is not Phase.READY:
            raise ValueError(f"a transaction can't begin in phase {self.phase.name}")
        commands = [(Step.MAIL, mail_command(transaction, self.extensions))]
        commands += [(Step.RCPT, line) for line in rcpt_commands(transaction)]
        self._unsent.extend(commands)
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

    # Inside

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

    def _conclude(self) -> None:
        self._progress.concluded = True
        self._unsent.clear()
        self.phase = Phase.SETTLING

    # What a reply means: the entries of the table below

    def _left(self, step: Step, _reply: Reply) -> None:
        self._break("the session has ended", stage=step.stage)

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
            self.nonsense(step, reply)
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
        self.closing(step, reply)

    TABLE: ClassVar[Mapping[Step, Row]] = {
        **Opening.TABLE,
        #                2yz                  3yz          4yz                  5yz                  421
        Step.MAIL:      (_mail_taken,         _nonsense,   _mail_refused,       _mail_refused,       _closing),
        Step.RCPT:      (_recipient_answered, _nonsense,   _recipient_answered, _recipient_answered, _closing),
        Step.DATA:      (_nonsense,           _go_ahead,   _data_refused,       _data_refused,       _closing),
        Step.BODY:      (_nonsense,           _nonsense,   _stopped,            _stopped,            _closing),
        Step.END:       (_accepted,           _nonsense,   _answered,           _answered,           _answered_closing),
        Step.EMPTY_END: (_ignored,            _nonsense,   _ignored,            _ignored,            _closing),
        Step.RSET:      (_ignored,            _nonsense,   _refused,            _refused,            _refused),
        Step.QUIT:      (_left,               _left,       _left,               _left,               _left),
    }  # fmt: skip
