"""How a session fails: before it is open, or in the middle of a transaction. A refused mail is neither: a result."""

from __future__ import annotations

from maildrop.errors import RelayUnavailable, printable
from maildrop.smtp.reply import Stage
from maildrop.smtp.steps import Fault
from maildrop.smtp.transaction import TransactionResult


class SessionFailed(RelayUnavailable):
    """No session could be opened: the relay's or the configuration's fault, never a job's.

    ``stage`` is lookup, connect, tls, greeting, ehlo, starttls or auth; ``reply`` the server's, if it said why;
    ``peer`` who was reached, if anybody was. ``configuration`` means that only a person can help: STARTTLS is not
    offered, AUTH was refused for good, no common mechanism, 530, 534, 535 or 538.
    """

    def __init__(self, relay: str, fault: Fault, *, peer: str | None = None) -> None:
        what = f"{fault.stage}: {printable(fault.what)}"
        super().__init__(f"relay {relay}", what, hint=_hint(fault))
        self.stage = fault.stage
        self.reply = fault.reply
        self.configuration = fault.configuration
        self.peer = peer

    @property
    def permanent(self) -> bool:
        """Return whether the server said that trying again is of no use (5yz)."""
        return self.reply is not None and self.reply.severity == 5


class SessionLost(RelayUnavailable):
    """A session broke in the middle of a transaction.

    ``in_doubt``: the final dot may have reached the server and no whole reply was read; never true otherwise.
    ``stale``: a reused session that proved dead before MAIL was answered; try another one at once.
    ``result``: the replies so far. ``reply``: what the server said last if that was the reason (421, nonsense).
    """

    def __init__(self, relay: str, fault: Fault, *, in_doubt: bool, stale: bool, result: TransactionResult) -> None:
        doubt = "; the message may have been accepted" if in_doubt else ""
        super().__init__(f"relay {relay}", f"{fault.stage}: {printable(fault.what)}{doubt}")
        self.stage = fault.stage
        self.reply = fault.reply
        self.in_doubt = in_doubt
        self.stale = stale
        self.result = result

    @property
    def lacks_chunking(self) -> bool:
        """Return whether the server offers CHUNKING and does not know BDAT: the same message may go by DATA."""
        return (
            not self.in_doubt and self.stage is Stage.BDAT and self.reply is not None and self.reply.is_unknown_command
        )


def _hint(fault: Fault) -> str:
    if fault.stage is Stage.LOOKUP:
        return "check 'host' of the relay and the name servers of this machine"
    if fault.stage is Stage.CONNECT:
        return "check 'host' and 'port' (or 'socket') of the relay, and firewalls on the way"
    if fault.stage is Stage.TLS:
        return "check 'tls' and 'ca_file' of the relay: the certificate has to be valid for 'host'"
    if fault.stage is Stage.STARTTLS and fault.configuration:
        return "use the relay's submission port (587), or 'tls = \"implicit\"' with port 465"
    if fault.configuration:
        return "check 'user', password and 'tls' of the relay, and whether it allows SMTP AUTH for this account"
    return ""
