"""What a job's folder says, wherever it lies: the mail in it and where that goes.

Reads the envelope or the finished message once; the message itself is composed only when it is asked for. Both kinds of
job, ``envelope.toml`` and ``message.eml``, come out alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from maildrop.delivery.route import Leg, Route, legs
from maildrop.delivery.senders import Accounts, advise_about
from maildrop.errors import InvalidJob, Problem, did_you_mean, printable
from maildrop.mail.advice import advise
from maildrop.mail.dkim import Signer
from maildrop.mail.envelope import parse_envelope, parse_overrides
from maildrop.mail.message import Identity, Message, compose, new_identity
from maildrop.mail.model import Defaults, Delivery, Limits, Partial
from maildrop.mail.pickup import Dialect, read_pickup
from maildrop.spool.files import JobFolder
from maildrop.spool.readiness import ENVELOPE, FINISHED_MESSAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class MailingSettings:
    """What the configuration says about reading jobs."""

    defaults: Defaults = field(default_factory=Defaults)
    limits: Limits = field(default_factory=Limits)
    dialect: Dialect = Dialect.AUTO
    domain: str = "localhost"
    relays: tuple[str, ...] = ()
    direct: frozenset[str] = frozenset()  # those of them that deliver to each domain by itself
    routes: tuple[Route, ...] = ()
    signer: Signer | None = None
    accounts: Accounts = field(default_factory=Accounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What makes every attempt the same mail: known from the first attempt if there was one, else from the claim.

    ``token`` is random and makes the Message-ID where neither the envelope nor an earlier attempt gives one.
    """

    first: datetime
    token: str
    message_id: str | None = None

    def identity(self, own: str | None, domain: str) -> Identity:
        """Fix Message-ID (``own`` is the envelope's), Date and boundary."""
        fresh = new_identity(domain=domain, now=self.first, token=self.token)
        message_id = own or self.message_id or fresh.message_id
        boundary = hashlib.sha256(message_id.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return Identity(message_id=message_id, date=self.first, boundary=boundary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailing:
    """A mail that was read: ``compose`` makes the message, the same octets for the same origin.

    ``advise`` yields what is legal and still wrong in what was composed; of finished messages nothing is said.
    ``senders`` are the addresses that a relay may not like, by where they are written.
    """

    delivery: Delivery
    subject: str
    finished: bool  # it was dropped as a whole message
    compose: Callable[[], Message]
    advise: Callable[[Message], Iterator[Problem]]
    senders: Mapping[str, str]


def read_mailing(
    folder: JobFolder, settings: MailingSettings, *, origin: Origin, message_name: str = FINISHED_MESSAGE
) -> Mailing:
    """Read what lies in the folder; raises InvalidJob with every problem, OSError for trouble of this machine."""
    files = folder.walk(settings.limits.files + 1)  # the envelope is not one of the files it may have
    if message_name in files:
        return _finished(folder, settings, files, origin, message_name)
    if ENVELOPE in files:
        return _described(folder, settings, files, origin)
    what = f"there is neither {ENVELOPE} nor {FINISHED_MESSAGE} in it"
    raise InvalidJob("job", [Problem(where="job", what=what, hint="see 'The job folder' in the README")])


def _described(folder: JobFolder, settings: MailingSettings, files: tuple[str, ...], origin: Origin) -> Mailing:
    mail = parse_envelope(
        _read_envelope(folder, settings.limits),
        files=[name for name in files if name != ENVELOPE],
        defaults=settings.defaults,
        limits=settings.limits,
    )
    identity = origin.identity(mail.content.message_id, settings.domain)

    def make() -> Message:
        message = compose(mail.content, identity, open_source=folder.open_file, limits=settings.limits)
        return _signed(message, settings, origin)

    return Mailing(
        delivery=mail.delivery,
        subject=mail.content.subject,
        finished=False,
        compose=make,
        advise=lambda message: advise(mail.content, size=message.size, open_source=folder.open_file),
        senders={
            f"{ENVELOPE}: from": mail.content.author.address,
            f"{ENVELOPE}: return_path": mail.delivery.reverse_path,
        },
    )


def _finished(
    folder: JobFolder, settings: MailingSettings, files: tuple[str, ...], origin: Origin, message_name: str
) -> Mailing:
    overrides = None
    if message_name == FINISHED_MESSAGE and ENVELOPE in files:
        overrides = parse_overrides(_read_envelope(folder, settings.limits), limits=settings.limits)
    pickup = read_pickup(
        folder.open_file(message_name),
        overrides=overrides,
        identity=origin.identity(None, settings.domain),
        defaults=settings.defaults,
        dialect=settings.dialect,
        limits=settings.limits,
    )
    return Mailing(
        delivery=pickup.delivery,
        subject=pickup.subject,
        finished=True,
        compose=lambda: _signed(pickup.message, settings, origin),
        advise=lambda _message: iter(()),
        senders={printable(message_name): pickup.delivery.reverse_path},
    )


def _signed(message: Message, settings: MailingSettings, origin: Origin) -> Message:
    """Sign it, if we sign; by the date of the first attempt, so that a retry is the same mail."""
    return message if settings.signer is None else settings.signer.signed(message, date=origin.first)


def _read_envelope(folder: JobFolder, limits: Limits) -> bytes:
    source = folder.open_file(ENVELOPE)
    if source.size > limits.envelope_octets:  # judged before it is read: a sparse file may claim any size
        what = f"has {source.size} octets; at most {limits.envelope_octets} are read"
        hint = "long texts belong into body.txt, many recipients into several jobs"
        raise InvalidJob(ENVELOPE, [Problem(where=ENVELOPE, what=what, hint=hint)])
    octets = source.read()
    source.close()  # many jobs may wait for their turn: each holds as few descriptors as it can
    return octets


def route_of(name: str, delivery: Delivery, settings: MailingSettings) -> tuple[Leg, ...]:
    """Return which recipients go to which relays; raises InvalidJob for an unknown relay or an impossible wish."""
    for relay in delivery.relays:
        if relay not in settings.relays:
            what, hint = f"no relay '{printable(relay)}' is configured", did_you_mean(relay, settings.relays)
            raise InvalidJob(name, [Problem(where=f"{ENVELOPE}: relay", what=what, hint=hint)])
    found = legs(
        settings.routes,
        every_relay=settings.relays,
        wanted=delivery.relays,
        direct=settings.direct,
        sender=delivery.reverse_path,
        forward_paths=delivery.forward_paths,
        job=name,
    )
    if delivery.partial is Partial.ALL_OR_NOTHING and len(found) > 1:
        what = "all-or-nothing is not possible: the routes send the recipients to different relays"
        raise InvalidJob(name, [Problem(where=f"{ENVELOPE}: partial", what=what, hint="make one job for each")])
    return found


def warnings_of(
    mailing: Mailing, message: Message, route: tuple[Leg, ...], settings: MailingSettings
) -> Iterator[Problem]:
    """Yield what a person may want to know before this is sent; none of it keeps it from being sent."""
    yield from mailing.advise(message)
    relays = dict.fromkeys(relay for leg in route for relay in leg.relays)
    yield from advise_about(mailing.senders, relays, settings.accounts)
