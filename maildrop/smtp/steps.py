"""The words of the machine in `maildrop.smtp.protocol`: phases, steps, events, and why a session is over."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from maildrop.smtp.reply import Reply, Stage


class Security(StrEnum):
    """How a session is protected; only ``OPPORTUNISTIC`` and ``NONE`` ever speak in the clear."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    OPPORTUNISTIC = "opportunistic"
    NONE = "none"


class Phase(Enum):
    """What the client is in the middle of."""

    OPENING = auto()  # greeting to AUTH
    TLS = auto()  # a handshake; not one octet of SMTP may come
    READY = auto()  # for MAIL
    FLIGHT = auto()  # MAIL, RCPT, DATA
    BODY = auto()  # 354 was read, the message is on its way
    END = auto()  # the whole message was handed over, final dot or last chunk included
    SETTLING = auto()  # the transaction has its answer; left-over replies and the one to RSET are collected
    QUITTING = auto()
    OVER = auto()  # nothing can be said any more; `fault` tells why


class Event(Enum):
    """What must be done at once, before another octet is read."""

    START_TLS = auto()
    ACCEPTED = auto()


class Step(Enum):
    """What a reply can be the answer to; the value is the stage that results speak of."""

    GREETING = (Stage.GREETING, 0)
    EHLO = (Stage.EHLO, 0)
    HELO = (Stage.EHLO, 1)
    STARTTLS = (Stage.STARTTLS, 0)
    AUTH = (Stage.AUTH, 0)
    MAIL = (Stage.MAIL, 0)
    RCPT = (Stage.RCPT, 0)
    DATA = (Stage.DATA, 0)
    BODY = (Stage.DATA, 1)  # nothing was asked: the server speaks up while the message is being sent
    CHUNK = (Stage.BDAT, 1)  # what BODY is behind BDAT
    END = (Stage.DATA_END, 0)
    LAST_CHUNK = (Stage.BDAT, 0)  # what END is behind DATA (RFC 3030 section 2)
    EMPTY_END = (Stage.DATA_END, 1)  # the dot for a DATA that was pipelined in vain (RFC 2920 section 3.1)
    RSET = (Stage.RSET, 0)
    QUIT = (Stage.QUIT, 0)

    @property
    def stage(self) -> Stage:
        """Return the stage that this step belongs to."""
        return self.value[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a session is over: where, in words (escaped by whoever shows them), with the reply if one said so."""

    stage: Stage
    what: str
    reply: Reply | None = None
    configuration: bool = False
