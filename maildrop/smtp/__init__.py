"""How a message is spoken to a relay: SMTP as a client, with the moment of doubt always known.

============  =====================================================================================  ========
reply         one reply, from octets; bounds, enhanced codes, queue ids                              pure
extensions    the reply to EHLO as a value                                                           pure
data          dot-stuffing, streamed; no stray CR or LF leaves                                       pure
auth          SASL exchanges; secrets that can't be printed                                          pure
transaction   what is asked of a relay, and the replies it gave                                      pure
transcript    the dialog without secrets and content, bounded                                        pure
steps         the words of the machine: phases, steps, events, faults                                pure
conversation  what the parts of the machine share: who speaks, which reply is awaited                pure
opening       greeting, EHLO, STARTTLS, AUTH                                                         pure
protocol      the client as a table-driven machine: octets in; octets, events and a phase out        pure
tls           TLS as a filter between octets                                                         pure
endpoint      whom to talk to, how long to wait                                                      pure
failures      how a session fails                                                                    pure
wire          socket, name lookup, TLS in between, what was said before a line broke                 asyncio
waiting       a task asleep until something happens or a deadline passes                              asyncio
connecting    from a relay to a session that is ready                                                asyncio
session       pumps the machine, keeps the deadlines                                                 asyncio
============  =====================================================================================  ========

A refusal is data (`TransactionResult`). Only a conversation that can't begin (`SessionFailed`) or breaks
(`SessionLost`) raises; the exception knows its stage and whether the message is in doubt.
"""

from maildrop.smtp.auth import KNOWN_MECHANISMS, Credentials, Secret
from maildrop.smtp.connecting import connect
from maildrop.smtp.endpoint import Endpoint, Timeouts
from maildrop.smtp.extensions import Extensions
from maildrop.smtp.failures import SessionFailed, SessionLost
from maildrop.smtp.reply import Reply, Stage
from maildrop.smtp.session import Session
from maildrop.smtp.steps import Security
from maildrop.smtp.transaction import Transaction, TransactionResult
from maildrop.smtp.transcript import Transcript

__all__ = [
    "KNOWN_MECHANISMS",
    "Credentials",
    "Endpoint",
    "Extensions",
    "Reply",
    "Secret",
    "Security",
    "Session",
    "SessionFailed",
    "SessionLost",
    "Stage",
    "Timeouts",
    "Transaction",
    "TransactionResult",
    "Transcript",
    "connect",
]
