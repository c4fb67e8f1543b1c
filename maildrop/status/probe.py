"""Does a relay work? One session as the daemon would open it, and no mail; several relays at the same time.

What is said and verified on the way is the business of `maildrop.smtp`; here it is only watched: the dialog through the
transcript, the certificate through the TLS context. What it comes to in words is `maildrop.status.steps`'.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

from maildrop.delivery.relay_settings import Protocol, RelaySettings, endpoint_of
from maildrop.errors import printable
from maildrop.smtp import CredentialsUnavailable, Endpoint, SessionFailed, Stage, Timeouts, connect
from maildrop.status.findings import CONFIGURATION, UNAVAILABLE, Finding, failed
from maildrop.status.steps import Witness, findings_of

_TICK_SECONDS = 0.2

TellProgress = Callable[[Mapping[str, Stage]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A relay to be looked at.

    ``secret`` is what keeps this user from its password (then everything before AUTH is looked at), ``notes`` what else
    there is to say about the relay.
    """

    settings: RelaySettings
    secret: Finding | None = None
    notes: tuple[Finding, ...] = ()


def probe_all(
    suspects: Sequence[Suspect], *, step_seconds: float, tell: TellProgress
) -> Iterator[tuple[str, list[Finding]]]:
    """Look at the relays, all at once; yield each one's name and findings, in the order given.

    ``step_seconds`` is how long each step may take. ``tell`` is called now and then, while there is something to wait
    for, with the step that each unfinished relay is at.
    """
    with asyncio.Runner() as runner:
        witnesses = [Witness() for _ in suspects]
        tasks: list[asyncio.Task[list[Finding]]] = []

        async def start() -> None:
            for suspect, witness in zip(suspects, witnesses, strict=True):
                tasks.append(asyncio.create_task(_probe(suspect, witness, step_seconds)))

        async def wait(task: asyncio.Task[list[Finding]]) -> list[Finding]:
            while not (await asyncio.wait([task], timeout=_TICK_SECONDS))[0]:
                whole = zip(suspects, witnesses, tasks, strict=True)
                tell({suspect.settings.name: witness.stage for suspect, witness, one in whole if not one.done()})
            return task.result()

        runner.run(start())
        for suspect, task in zip(suspects, tasks, strict=True):
            yield suspect.settings.name, runner.run(wait(task))


async def _probe(suspect: Suspect, witness: Witness, step_seconds: float) -> list[Finding]:
    if suspect.settings.protocol is Protocol.MX:
        what = "direct delivery: each recipient's domain names its servers, there is none to try"
        return [*suspect.notes, Finding(step="lookup", what=what)]
    clock = asyncio.get_running_loop().time
    endpoint = endpoint_of(suspect.settings)
    endpoint = replace(endpoint, timeouts=_shortened(endpoint.timeouts, step_seconds))
    endpoint, secret = await _with_credentials(endpoint, suspect.secret, step_seconds)
    if endpoint.tls is not None:
        _watch(endpoint.tls, witness)
    witness.addresses = await _look_up(endpoint, step_seconds)
    witness.begin_connection(clock)
    try:
        session = await connect(endpoint, transcript=witness)
    except SessionFailed as failure:
        return [*suspect.notes, *findings_of(witness, endpoint, failure=failure, secret=secret, now=datetime.now(UTC))]
    witness.peer = session.peer
    await session.quit()
    told = findings_of(witness, endpoint, failure=None, secret=secret, now=datetime.now(UTC))
    return [*suspect.notes, *told, Finding(step="quit", what="done, no mail was sent")]


async def _with_credentials(
    endpoint: Endpoint, secret: Finding | None, seconds: float
) -> tuple[Endpoint, Finding | None]:
    """Ask the source for the credentials; without them the relay is looked at as far as it goes."""
    source = endpoint.source
    endpoint = replace(endpoint, source=None)
    if secret is not None:
        return replace(endpoint, credentials=None), secret
    if source is None:
        return endpoint, None
    try:
        async with asyncio.timeout(seconds):
            return replace(endpoint, credentials=await source.credentials()), None
    except TimeoutError:
        return endpoint, failed("auth", f"no credentials within {seconds:g} s", code=UNAVAILABLE)
    except CredentialsUnavailable as error:
        code = CONFIGURATION if error.configuration else UNAVAILABLE
        return endpoint, failed("auth", printable(str(error)), code=code)


def _shortened(timeouts: Timeouts, seconds: float) -> Timeouts:
    return Timeouts(**{one.name: min(seconds, getattr(timeouts, one.name)) for one in fields(timeouts)})


def _watch(context: ssl.SSLContext, witness: Witness) -> None:
    """Let the witness see each connection of this context when its handshake is done, whatever becomes of it then."""

    class Watched(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            cipher = self.cipher()
            words = f"{self.version()} {cipher[0] if cipher else 'no cipher'}"
            witness.encrypted(words, dict(self.getpeercert() or {}), self.getpeercert(binary_form=True) or b"")

    context.sslobject_class = Watched


async def _look_up(endpoint: Endpoint, seconds: float) -> list[str]:
    """Return the addresses; what goes wrong here goes wrong again, and is told, when the connection is made."""
    if endpoint.socket is not None:
        return []
    try:
        async with asyncio.timeout(seconds):
            found = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port)
    except (OSError, UnicodeError):  # TimeoutError is an OSError
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
