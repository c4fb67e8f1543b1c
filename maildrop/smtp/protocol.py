"""What comes next in the conversation? The client as a machine: octets in; octets, events and a phase out.

`Client` has no socket, no clock and no TLS of its own, so every conversation a server can think of is tried in tests
without a network. Its heart is one table: which command was answered, by what kind of reply, and what that means. What
the table does not know breaks the session, because a reply that is guessed at shifts all later ones by one.

Three facts are kept exact for each transaction (`Progress`), since duplicates and lost mail hang on them: it is
``concluded`` (has its clear answer), it is ``in_doubt`` (the whole message may have been read and no whole reply came
back), and the event ``ACCEPTED``, given once, on a 2yz after the whole message and on nothing else.

A further transaction may be opened behind a message that has been handed over (RFC 2920 3.1: it may be the first of a
group), which saves its round trip. Nothing of it can count before the doubt about the first is over: its replies come
behind, and its message waits for them.

RFC 5321, 2033 (LMTP), 2920 (PIPELINING), 3030 (CHUNKING), 3207 (STARTTLS), 4954 (AUTH).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from maildrop.smtp.conversation import Conversation, Row
from maildrop.smtp.opening import Opening
from maildrop.smtp.reply import Reply, Stage
from maildrop.smtp.steps import Event, Phase, Step
from maildrop.smtp.transaction import Progress, Transaction, mail_command, rcpt_commands
from maildrop.smtp.transcript import Transcript

_closing, _ignored = Conversation.closing, Conversation.ignored
_nonsense, _refused = Conversation.nonsense, Conversation.refused


class Client(Opening):
    """The client's side of one session, from the greeting to QUIT."""

    _following: Progress | None = None  # of the transaction that was opened behind the one in phase END
    _its_transcript: Transcript | None = None

    @property
    def takes_another(self) -> bool:
        """Return whether a transaction may be opened behind the message that was handed over.

        Not over LMTP, where a server that miscounts its replies would judge the next message by the last one's.
        """
        return self.phase is Phase.END and self._following is None and self.extensions.pipelining and not self._lmtp

    def begin(self, transaction: Transaction) -> Progress:
        """Open a transaction in phase READY, or behind another one (`takes_another`); return where its answers go.

        Raises ValueError for what no caller may pass: control characters, a recipient twice or none, the need for an
        extension that the relay lacks.
        """
        if self.phase is not Phase.READY and not self.takes_another:
            raise ValueError(f"a transaction can't begin in phase {self.phase.name}")
        chunked = self.extensions.chunking and self._chunking
        commands = [(Step.MAIL, mail_command(transaction, self.extensions))]
        commands += [(Step.RCPT, line) for line in rcpt_commands(transaction, self.extensions)]
        self._unsent.extend(commands)
        before = self.transcript
        if transaction.transcript is not None:
            self.transcript = transaction.transcript
        if self.extensions.pipelining and not transaction.all_or_nothing and not chunked:
            self._unsent.append((Step.DATA, b"DATA"))
        progress = Progress(
            paths=transaction.forward_paths,
            all_or_nothing=transaction.all_or_nothing,
            lmtp=self._lmtp,
            chunked=chunked,
            follows=self.phase is Phase.END,
        )
        if self.phase is Phase.READY:
            self.progress = progress
            self.phase = Phase.FLIGHT
            self._advance()
        else:
            self._advance()
            self._following, self._its_transcript, self.transcript = progress, self.transcript, before
        return progress

    def announce(self, size_octets: int) -> bytes:
        """Return what stands before the message in phase BODY: BDAT where it is used, nothing behind DATA."""
        if not self.progress.chunked:
            return b""
        line = f"BDAT {size_octets} LAST"
        self.transcript.client(line)
        return line.encode("ascii") + b"\r\n"

    def handed_over(self, message_octets: int) -> None:
        """Note that the whole message was given to the kernel: from here on only a reply ends the doubt."""
        progress = self.progress
        progress.handed_over = True
        self.phase = Phase.END
        answers = len(progress.accepted) if progress.lmtp else 1
        self._awaited.extend([Step.LAST_CHUNK if progress.chunked else Step.END] * answers)
        self.transcript.client(f"<{message_octets} octets>")

    def quit(self) -> None:
        """Take leave; for a client that is ready or settling."""
        self.phase = Phase.QUITTING
        self._say(Step.QUIT, b"QUIT")

    # Inside

    def _advance(self) -> None:
        """Send what may be sent now; once a concluded transaction has nothing left over, become ready again."""
        if self.phase is Phase.SETTLING and not self._awaited:
            if self.progress.must_reset:
                self.progress.must_reset = False
                self._say(Step.RSET, b"RSET")
            else:
                self.phase = Phase.READY
        while self._unsent and (self.extensions.pipelining or not self._awaited):
            self._say(*self._unsent.popleft())

    def _break(
        self, what: str, *, reply: Reply | None = None, stage: Stage | None = None, configuration: bool = False
    ) -> None:
        progress = self.progress
        if progress.mail_refused and not progress.concluded:
            # Behind another message it may have been a second reply to that one, as it was if a recipient is accepted.
            if progress.follows or (reply is not None and reply.severity == 2):
                progress.mail = None
            else:
                progress.concluded = True
        super()._break(what, reply=reply, stage=stage, configuration=configuration)

    def _conclude(self) -> None:
        self.progress.concluded = True
        self._unsent.clear()
        self.phase = Phase.SETTLING

    # What a reply means: the entries of the table below

    def _left(self, step: Step, _reply: Reply) -> None:
        self._break("the session has ended", stage=step.stage)

    def _mail_taken(self, _step: Step, reply: Reply) -> None:
        self.progress.mail = reply
        self.progress.must_reset = True

    def _mail_refused(self, _step: Step, reply: Reply) -> None:
        self.progress.mail = reply
        if not self._awaited:  # else what is said about its recipients has to agree
            self._conclude()

    def _recipient_answered(self, step: Step, reply: Reply) -> None:
        progress = self.progress
        if progress.mail_refused:
            if reply.severity == 2:
                self.nonsense(step, reply)
            elif Step.RCPT not in self._awaited:
                self._conclude()
            return
        progress.recipients[progress.paths[len(progress.recipients)]] = reply
        if not progress.all_answered:
            return
        if not progress.worth_data:
            self._conclude()
        elif progress.chunked:
            self.phase = Phase.BODY
        elif not (self._awaited or self._unsent):
            self._unsent.append((Step.DATA, b"DATA"))

    def _go_ahead(self, step: Step, reply: Reply) -> None:
        in_vain = self.progress.concluded  # DATA was pipelined behind recipients that were all refused
        if reply.code != 354 or (in_vain and self._lmtp):  # RFC 2033 4.2: 503 is due, a dot would have no reply
            self.nonsense(step, reply)
        elif in_vain:
            self.progress.must_reset = False
            self._say(Step.EMPTY_END, b".")
        else:
            self.progress.data = reply
            self.phase = Phase.BODY

    def _data_refused(self, _step: Step, reply: Reply) -> None:
        if not self.progress.concluded:
            self.progress.data = reply
            self._conclude()

    def _stopped(self, step: Step, reply: Reply) -> None:
        if step is Step.CHUNK and reply.is_unknown_command:
            self._no_chunks(step, reply)
            return
        self.progress.take_end(reply)
        self._break(f"refused while the message was being sent: {reply}", reply=reply, stage=step.stage)

    def _no_chunks(self, _step: Step, reply: Reply) -> None:
        """Break the session of a server that offers BDAT and does not know it: it may read the message as commands."""
        self.progress.handed_over = False
        self._break(f"offered, but not known: {reply}", reply=reply, stage=Stage.BDAT)

    def _answered(self, step: Step, reply: Reply) -> None:
        if step is Step.LAST_CHUNK and reply.is_unknown_command and not self.progress.ends:
            self._no_chunks(step, reply)
            return
        self.progress.take_end(reply)
        if self.progress.concluded:
            self._go_on()

    def _go_on(self) -> None:
        """Turn to the transaction that was opened behind this one, if there is any."""
        if self._following is None:
            self.phase = Phase.READY
            return
        self.progress, self.transcript = self._following, self._its_transcript or self.transcript
        self._following, self._its_transcript = None, None
        self.phase = Phase.FLIGHT

    def _accepted(self, step: Step, reply: Reply) -> None:
        progress = self.progress
        self._answered(step, reply)
        if progress.concluded and progress.result.delivered == tuple(progress.accepted):
            self._events.append(Event.ACCEPTED)

    def _answered_closing(self, step: Step, reply: Reply) -> None:
        self.progress.take_end(reply)  # and no more: the next one's transcript is not to tell why this session ends
        self.closing(step, reply)

    TABLE: ClassVar[Mapping[Step, Row]] = {
        **Opening.TABLE,
        #                2yz                  3yz          4yz                  5yz                  421
        Step.MAIL:      (_mail_taken,         _nonsense,   _mail_refused,       _mail_refused,       _closing),
        Step.RCPT:      (_recipient_answered, _nonsense,   _recipient_answered, _recipient_answered, _closing),
        Step.DATA:      (_nonsense,           _go_ahead,   _data_refused,       _data_refused,       _closing),
        Step.BODY:      (_nonsense,           _nonsense,   _stopped,            _stopped,            _closing),
        Step.CHUNK:     (_nonsense,           _nonsense,   _stopped,            _stopped,            _closing),
        Step.END:       (_accepted,           _nonsense,   _answered,           _answered,           _answered_closing),
        Step.LAST_CHUNK: (_accepted,          _nonsense,   _answered,           _answered,           _answered_closing),
        Step.EMPTY_END: (_ignored,            _nonsense,   _ignored,            _ignored,            _closing),
        Step.RSET:      (_ignored,            _nonsense,   _refused,            _refused,            _refused),
        Step.QUIT:      (_left,               _left,       _left,               _left,               _left),
    }  # fmt: skip
