"""One job's visit to one relay: the transactions of one session, each recorded as it happens.

The order of the durable steps is the promise:

1. before the final dot, the result as it will be if the relay says yes is written and synced (``Job.prepare``);
2. on the 2yz the very next system call is the rename that records it (``Job.accept``), from inside the receive path;
3. then the target folder is synced, once for all jobs that were accepted meanwhile (``Commit``);
4. only then the reply's words are added (``Job.finish``).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from maildrop.delivery.account import Account
from maildrop.delivery.commit import Commit
from maildrop.delivery.load import Loaded
from maildrop.delivery.outcome import Judgement, Scope, Verdict, judge
from maildrop.delivery.relay import Relay
from maildrop.delivery.route import Leg
from maildrop.errors import InvalidJob, MaildropError, Problem, printable
from maildrop.mail.envelope import Partial
from maildrop.mail.message import Message, Need
from maildrop.smtp import (
    Extensions,
    Notify,
    Reply,
    Session,
    Stage,
    Transaction,
    TransactionResult,
    Transcript,
)
from maildrop.spool.durable import is_local_trouble
from maildrop.spool.job import home_of
from maildrop.spool.layout import State
from maildrop.spool.readiness import FINISHED_MESSAGE
from maildrop.spool.record import Outcome, Status

_RECORD_RETRY_SECONDS = 1.0  # an accepted mail whose rename failed (EIO, EROFS) is recorded as soon as the disk allows
_RETURNED = {"headers": "HDRS", "full": "FULL"}  # RFC 3461 4.3
_YES = Reply(code=250, lines=("",))  # the answer that the prepared record assumes


class MessageChanged(MaildropError):
    """The message is not octet for octet that of the first attempt; raised before the final dot is sent."""


@dataclass(slots=True, kw_only=True)
class Visit:
    """The account of a job at one relay, from the first MAIL to the last reply."""

    loaded: Loaded
    leg: Leg
    message: Message
    relay: Relay
    commit: Commit
    now: Callable[[], datetime]
    started: datetime
    attempts_before: int
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    asked: tuple[str, ...] = ()  # the recipients of the transaction that is under way
    settled: State | None = None  # where the record of success has moved the job
    trouble: OSError | None = None  # of this machine, after an acceptance was recorded
    prepared: bool = False  # a record of success lies in active/ that no reply has confirmed
    transcript: Transcript | None = None  # of this visit alone, where the session's is another's too
    _digest: Callable[[], str] = str
    _recorded: bool = False
    _again: tuple[str, ...] = ()
    _target: State | None = None
    _unrecorded: OSError | None = None

    @property
    def decided(self) -> frozenset[str]:
        """Return the recipients whose turn this visit has been."""
        return frozenset(path for path, verdict in self.verdicts.items() if verdict.status is not Status.PENDING)

    @property
    def account(self) -> Account:
        """Return the job's account."""
        return self.loaded.account

    async def deliver(self, session: Session) -> Judgement:
        """Send the message to the leg's recipients in as many transactions as it takes; return the last judgement.

        Every acceptance is durable when this returns or raises. Raises SessionLost, NoTurn (before a transaction that
        has to wait for the relay's rate), SourceChanged, MessageChanged, OSError.
        """
        refusal = refuse_here(self.loaded, self.message, session, self.relay)
        if refusal is not None:
            judgement = _refused_here(self.leg.forward_paths, refusal)
            self.enter(judgement, session)
            return judgement
        remaining = tuple(path for path in self.leg.forward_paths if path not in self.decided)  # a stale session's rest
        while True:
            asked, rest = self._split(remaining, session.extensions)
            self.relay.begin(self.loaded.job.name, now=asyncio.get_running_loop().time())
            self.asked = asked
            result = await session.deliver(self._transaction(session, asked, is_last=not rest))
            judgement = judge(result, asked)
            if not judgement.counted:
                return judgement
            self.enter(judgement, session)
            if self._recorded:
                await self._make_durable()
            elif result.delivered:  # LMTP: for some alone, which no prepared record could know
                await self._persist(self._note)
            remaining = judgement.again + rest
            if self.settled is not None or not remaining or self._is_over(judgement):
                return judgement

    def _split(self, paths: tuple[str, ...], known: Extensions) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the recipients of the next transaction and the rest, within our limits and the relay's (RFC 9422)."""
        if self.loaded.delivery.partial is Partial.ALL_OR_NOTHING:
            return paths, ()  # one transaction, or it could not be all or nothing
        most = min(self.relay.settings.recipients_per_message, known.most_recipients or len(paths))
        if known.most_domains is not None:
            domains = list(dict.fromkeys(map(domain_of, paths)))[: known.most_domains]
            paths_first = [path for path in paths if domain_of(path) in domains]
            paths = (*paths_first, *(path for path in paths if domain_of(path) not in domains))
            most = min(most, len(paths_first))
        return paths[:most], paths[most:]

    @staticmethod
    def _is_over(judgement: Judgement) -> bool:
        """Tell whether a further transaction makes no sense: the message itself was refused or deferred."""
        return judgement.scope is Scope.MESSAGE or not any(
            verdict.status is Status.DELIVERED or verdict.stage is Stage.RCPT for verdict in judgement.verdicts
        )

    def enter(self, judgement: Judgement, session: Session | None) -> None:
        """Take the verdicts into the account, as part of this visit's one attempt."""
        self.account.apply(judgement.verdicts, relay=self.relay.name)
        self.verdicts.update({verdict.path: verdict for verdict in judgement.verdicts})
        self._count(self.account, session, self.verdicts)

    def _count(self, account: Account, session: Session | None, verdicts: dict[str, Verdict]) -> None:
        del account.attempts[self.attempts_before :]
        account.attempted(
            started=self.started,
            seconds=(self.now() - self.started).total_seconds(),
            relay=self.relay.name,
            peer=None if session is None else session.peer,
            tls=None if session is None else session.tls,
            statuses=[verdict.status for verdict in verdicts.values()],
        )

    def _transaction(self, session: Session, asked: tuple[str, ...], *, is_last: bool) -> Transaction:
        self._target, self._unrecorded, self._recorded = None, None, False
        if session.takes_another:
            self.transcript = Transcript()  # the dialog of the message before goes on
        elif self.transcript is None:
            self.transcript = session.transcript  # which is another's as soon as a message follows this one

        async def prepare(result: TransactionResult) -> None:
            await self.commit.sync(self._prepare(result, asked, session))

        def record(_result: TransactionResult) -> None:
            self._recorded = True
            try:
                self.loaded.job.accept(self._target)
            except OSError as error:
                self._unrecorded = error

        delivery = self.loaded.delivery

        def handed_over() -> None:
            if is_last and self.prepared and not self._again:
                self.relay.offer(session)

        smtputf8 = Need.SMTPUTF8 in self.message.needs or not _is_ascii(delivery.reverse_path, *asked)
        return Transaction(
            reverse_path=delivery.reverse_path,
            forward_paths=asked,
            size=self.message.size,
            chunks=self._hashed,
            smtputf8=smtputf8,
            eightbitmime=Need.EIGHTBITMIME in self.message.needs,
            all_or_nothing=delivery.partial is Partial.ALL_OR_NOTHING,
            notify=Notify(
                conditions=tuple(condition.upper() for condition in delivery.notify),
                envelope_id=delivery.envelope_id,
                returned=_RETURNED.get(delivery.returned or ""),
            ),
            prepare=prepare,
            record=record,
            handed_over=handed_over,
            transcript=self.transcript,
        )

    def _hashed(self) -> Iterator[bytes]:
        """Yield the message; the digest leaves its signature out, whose key may be replaced between two attempts."""
        digest = hashlib.sha256()
        self._digest = lambda: f"sha256:{digest.hexdigest()}"
        signature = len(self.message.signature)
        for chunk in self.message.chunks():
            digest.update(chunk[signature:])
            signature = max(0, signature - len(chunk))
            yield chunk

    def _prepare(self, result: TransactionResult, asked: tuple[str, ...], session: Session) -> int:
        """Write the record as it will be on a yes; return the descriptor whose sync makes it durable."""
        account = self.account
        digest = self._digest()
        if account.digest not in (None, digest):
            raise self._changed()
        account.digest = digest
        assumed = judge(replace(result, end=_YES), asked)
        self._again = assumed.again
        future = account.assuming_accepted(
            result.accepted, assumed.verdicts, relay=self.relay.name, stage=result.end_stage
        )
        self._count(future, session, self.verdicts | {verdict.path: verdict for verdict in assumed.verdicts})
        outcome = future.outcome()
        self._target = None if outcome is Outcome.DEFERRED else home_of(outcome)
        self.prepared = True
        return self.loaded.job.prepare(future.result(outcome, finished=self.now()), completing=self._target is not None)

    def _changed(self) -> MessageChanged:
        """Say which file is no longer what it was when the first attempt was made."""
        first = self.account.attempts[0].started if self.account.attempts else self.account.claimed
        names = self.loaded.job.folder.changed_since(first.timestamp())
        which = ", ".join(map(printable, names)) or "a file of the job"
        what = f"the message is no longer the one of the first attempt: {which} was changed"
        return MessageChanged("job", what, hint="drop it again as a new job, if both mails are wanted")

    async def _make_durable(self) -> None:
        """Sync what ``record`` renamed, add the reply's words. From the rename on nothing may undo the acceptance."""
        job = self.loaded.job
        if self._unrecorded is not None:
            await self._persist(lambda: job.accept(self._target), self._unrecorded)
        self.prepared = False
        self.settled = self._target
        try:
            await self.commit.sync(job.landing)
            if self._target is not None:
                job.finish(self.account.result(self.account.outcome(), finished=self.now()))
        except OSError as error:
            self.trouble = error

    def _note(self) -> None:
        self.loaded.job.note(self.account.result(self.account.outcome(), finished=None))
        self.prepared = False

    @staticmethod
    async def _persist(record: Callable[[], None], failure: OSError | None = None) -> None:
        """Record what the relay has taken, again and again while this machine can't; ``failure`` is the first one."""
        while True:
            if failure is not None:
                if not is_local_trouble(failure):
                    raise failure  # its producer took our rights away: no waiting helps
                await asyncio.sleep(_RECORD_RETRY_SECONDS)
            try:
                record()
            except OSError as error:
                failure = error
            else:
                return


def domain_of(path: str) -> str:
    """Return the domain of a forward-path, in small letters."""
    return path.rpartition("@")[2].lower()


def _is_ascii(*paths: str) -> bool:
    return all(path.isascii() for path in paths)


def refuse_here(loaded: Loaded, message: Message, session: Session, relay: Relay) -> Reply | None:
    """Return our own refusal of a message that this relay can't take: too large, or an extension that it lacks."""
    limits = [limit for limit in (relay.settings.max_message_octets, session.extensions.size_limit) if limit]
    if limits and message.size > min(limits):
        text = f"5.3.4 the message has {message.size} octets; relay {relay.name} takes at most {min(limits)}"
        return Reply(code=552, lines=(text,))
    paths = (loaded.delivery.reverse_path, *loaded.delivery.forward_paths)
    if not _is_ascii(*paths) and not session.extensions.smtputf8:
        return Reply(code=553, lines=(f"5.6.7 a non-ASCII address needs SMTPUTF8, which relay {relay.name} lacks",))
    if Need.SMTPUTF8 in message.needs and not session.extensions.smtputf8:
        if loaded.finished and not loaded.account.attempts:
            what = f"has 8-bit header fields, which need SMTPUTF8, and relay {relay.name} lacks it"
            hint = "encode them as RFC 2047 words; every mail library can"
            raise InvalidJob(loaded.job.name, [Problem(where=FINISHED_MESSAGE, what=what, hint=hint)])
        return Reply(code=554, lines=(f"5.6.7 the header fields need SMTPUTF8, which relay {relay.name} lacks",))
    if Need.EIGHTBITMIME in message.needs and not session.extensions.eightbitmime:
        return Reply(code=554, lines=(f"5.6.3 the message is 8-bit and relay {relay.name} lacks 8BITMIME",))
    return None


def _refused_here(paths: tuple[str, ...], reply: Reply) -> Judgement:
    verdicts = tuple(Verdict(path=path, status=Status.REJECTED, stage=Stage.LOCAL, reply=reply) for path in paths)
    return Judgement(scope=Scope.MESSAGE, verdicts=verdicts)
