"""How a message is spoken to a relay: SMTP as a client, with the moment of doubt always known.

============  =====================================================================================  ========
reply         one reply, from octets; bounds, enhanced codes, queue ids                              pure
extensions    the reply to EHLO as a value                                                           pure
data          dot-stuffing, streamed; no stray CR or LF leaves                                       pure
credentials   who we are to a relay; secrets that can't be printed                                   pure
mechanism     what a SASL exchange is                                                                pure
auth          the exchanges, which of them, and when another                                         pure
scram         SCRAM-SHA-256                                                                          pure
sources       a password that is read again after a refusal                                          asyncio
oauth         tokens: kept, replaced in time                                                         asyncio
token         what a token server is asked, and its answer                                           pure
tokenserver   one question to a token server                                                         asyncio
tokenfacts    what a token says, and which step is missing                                           pure
redactor      takes secrets out of what a server says                                                pure
transaction   what is asked of a relay, and the replies it gave                                      pure
transcript    the dialog without secrets and content, bounded                                        pure
steps         the words of the machine: phases, steps, events, faults                                pure
conversation  what the parts of the machine share: who speaks, which reply is awaited                pure
opening       greeting, EHLO, STARTTLS, AUTH                                                         pure
protocol      the client as a table-driven machine: octets in; octets, events and a phase out        pure
tls           TLS as a filter between octets                                                         pure
certificate   until when it is valid, the fingerprint of its key                                     pure
endpoint      whom to talk to, how long to wait                                                      pure
failures      how a session fails                                                                    pure
wire          socket, name lookup, TLS in between, what was said before a line broke                 asyncio
waiting       a task asleep until something happens or a deadline passes                              asyncio
pump          between the machine and the wire; keeps the deadlines                                  asyncio
session       one transaction after the other                                                        asyncio
connecting    from a relay to a session that is ready                                                asyncio
============  =====================================================================================  ========

A refusal is data (`TransactionResult`). Only a conversation that can't begin (`SessionFailed`) or breaks
(`SessionLost`) raises; the exception knows its stage and whether the message is in doubt.
"""

from maildrop.smtp.auth import KNOWN_MECHANISMS, fitting
from maildrop.smtp.connecting import connect
from maildrop.smtp.credentials import Credentials, CredentialsSource, CredentialsUnavailable, Secret
from maildrop.smtp.endpoint import Endpoint, Timeouts
from maildrop.smtp.extensions import Extensions
from maildrop.smtp.failures import SessionFailed, SessionLost
from maildrop.smtp.oauth import TokenCredentials
from maildrop.smtp.reply import Reply, Stage
from maildrop.smtp.session import Session
from maildrop.smtp.sources import RereadCredentials
from maildrop.smtp.steps import Security
from maildrop.smtp.token import ClientAuthentication, Flow
from maildrop.smtp.transaction import Notify, Transaction, TransactionResult
from maildrop.smtp.transcript import Transcript

__all__ = [
    "KNOWN_MECHANISMS",
    "ClientAuthentication",
    "Credentials",
    "CredentialsSource",
    "CredentialsUnavailable",
    "Endpoint",
    "Extensions",
    "Flow",
    "Notify",
    "Reply",
    "RereadCredentials",
    "Secret",
    "Security",
    "Session",
    "SessionFailed",
    "SessionLost",
    "Stage",
    "Timeouts",
    "TokenCredentials",
    "Transaction",
    "TransactionResult",
    "Transcript",
    "connect",
    "fitting",
]
