"""The steps of one session in words: what was seen of each, up to the one that failed, and the way out.

Values in, findings out: a `Witness` watched the session, `maildrop.status.probe` opened it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from maildrop.errors import printable
from maildrop.smtp import Endpoint, Reply, Security, SessionFailed, Stage, Transcript
from maildrop.smtp.certificate import expires
from maildrop.smtp.extensions import read_extensions
from maildrop.smtp.tokenfacts import TokenFacts, explain_token, missing_step
from maildrop.status.findings import CONFIGURATION, UNAVAILABLE, Finding, failed, warned

_DAYS_TO_WARN = 30  # before a certificate expires: time enough to have it renewed
_SHOWN = 4  # addresses in a line
_WORDS = 160  # characters of a server's greeting
_MATTER = ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN", "LIMITS")  # what changes how we speak
_STAGES = {
    "EHLO": Stage.EHLO,
    "HELO": Stage.EHLO,
    "LHLO": Stage.EHLO,
    "STARTTLS": Stage.STARTTLS,
    "AUTH": Stage.AUTH,
    "QUIT": Stage.QUIT,
}
_ORDER = {
    Security.STARTTLS: (Stage.GREETING, Stage.STARTTLS, Stage.TLS, Stage.EHLO, Stage.AUTH),
    Security.OPPORTUNISTIC: (Stage.GREETING, Stage.STARTTLS, Stage.TLS, Stage.EHLO, Stage.AUTH),
    Security.IMPLICIT: (Stage.TLS, Stage.GREETING, Stage.EHLO, Stage.AUTH),
    Security.NONE: (Stage.GREETING, Stage.TLS, Stage.EHLO, Stage.AUTH),  # where TLS is what it does not have
}


class Witness(Transcript):
    """A transcript that knows where the dialog is, and keeps what findings are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage.LOOKUP
        self.addresses: list[str] = []
        self.peer: str | None = None
        self.greeting: Reply | None = None
        self.hello: Reply | None = None
        self.milliseconds = 0.0  # from the beginning of the connection to the end of the greeting
        self.tls = ""
        self.certificate: dict[str, Any] = {}  # as ssl.SSLSocket.getpeercert has it; empty if it was not verified
        self.certificate_octets = b""
        self.mechanism = ""
        self._clock: Callable[[], float] = float
        self._began = 0.0

    def begin_connection(self, clock: Callable[[], float]) -> None:
        """Note that a connection is made now, and forget an earlier one."""
        self.stage = Stage.CONNECT
        self.greeting = self.hello = None
        self.tls, self.certificate, self.certificate_octets = "", {}, b""
        self._clock, self._began = clock, clock()

    def encrypted(self, words: str, certificate: dict[str, Any], octets: bytes) -> None:
        """Note that a handshake is done, and what it came to."""
        self.tls, self.certificate, self.certificate_octets = words, certificate, octets

    def client(self, line: str) -> None:
        """Note a command of ours."""
        super().client(line)
        verb, *more = line.split(" ", 2)
        self.stage = _STAGES.get(verb, self.stage)
        if verb == "AUTH" and more:
            self.mechanism = more[0]

    def server(self, reply: Reply) -> None:
        """Note a reply."""
        super().server(reply)
        if self.greeting is None:
            self.greeting = reply
            self.milliseconds = (self._clock() - self._began) * 1000
        elif self.stage is Stage.EHLO:
            self.hello = reply
        elif self.stage is Stage.STARTTLS:
            self.stage = Stage.TLS

    def note(self, text: str) -> None:
        """Note something that neither side said; another connection begins with such a note."""
        super().note(text)
        if text.startswith("once more"):
            self.begin_connection(self._clock)


def findings_of(
    seen: Witness, endpoint: Endpoint, *, failure: SessionFailed | None, secret: Finding | None, now: datetime
) -> Iterator[Finding]:
    """Yield the steps in the order in which they were made; without a ``failure`` all were.

    ``secret`` stands for the AUTH that could not be tried.
    """
    words: dict[Stage, Callable[[], Finding | None]] = {
        Stage.LOOKUP: lambda: _looked_up(seen, endpoint),
        Stage.CONNECT: lambda: Finding(step="connect", what=_peer(seen, endpoint, failure)),
        Stage.GREETING: lambda: _greeted(seen),
        Stage.STARTTLS: lambda: None,
        Stage.TLS: lambda: _encrypted(seen, endpoint),
        Stage.EHLO: lambda: _extended(seen),
        Stage.AUTH: lambda: secret or _authenticated(seen, endpoint),
    }
    for stage in (Stage.LOOKUP, Stage.CONNECT, *_ORDER[endpoint.security]):
        if failure is not None and (stage is failure.stage or (stage is Stage.STARTTLS and _before_tls(seen, failure))):
            yield _failed(failure, seen, endpoint)
            if secret is not None:  # it is missing wherever the session ended
                yield secret
            return
        finding = words[stage]()
        if finding is not None:
            yield finding
        if stage is Stage.TLS and seen.certificate_octets:
            yield certificate_finding(seen.certificate, seen.certificate_octets, now)
        if stage is Stage.EHLO and endpoint.credentials is not None and endpoint.credentials.token is not None:
            yield token_finding(_facts(endpoint))
    if failure is not None:  # of a stage that has no line of its own
        yield _failed(failure, seen, endpoint)


def _before_tls(seen: Witness, failure: SessionFailed) -> bool:
    """Whether it was the EHLO in the clear that failed."""
    return failure.stage is Stage.EHLO and not seen.tls


def _failed(failure: SessionFailed, seen: Witness, endpoint: Endpoint) -> Finding:
    what = failure.what.removeprefix(f"{failure.stage}: ")
    if failure.stage is Stage.AUTH and seen.mechanism:
        what = f"{seen.mechanism}: {what}"
    step = missing_step(failure.reply, _facts(endpoint)) if failure.reply is not None else ""
    code = CONFIGURATION if failure.configuration else UNAVAILABLE
    return failed(failure.stage.value, what, printable(step) or failure.hint, code=code)


def _facts(endpoint: Endpoint) -> TokenFacts | None:
    token = endpoint.credentials.token if endpoint.credentials is not None else None
    return None if token is None else explain_token(token.reveal())


def token_finding(facts: TokenFacts | None) -> Finding:
    """Tell what a token says about itself, which is what an administrator has to compare."""
    if facts is None:
        return Finding(step="token", what="is there; it says nothing about itself")
    claims = {
        "for": facts.audience,
        "roles": ", ".join(facts.roles),
        "scopes": ", ".join(facts.scopes),
        "of application": facts.application,
        "object id": facts.object_id,
        "user": facts.user,
        "good until": "" if facts.expires is None else f"{facts.expires:%Y-%m-%dT%H:%M:%SZ}",
    }
    words = "; ".join(f"{claim} {value}" for claim, value in claims.items() if value)
    return Finding(step="token", what=printable(words) or "is there; it says nothing about itself")


def _looked_up(seen: Witness, endpoint: Endpoint) -> Finding | None:
    if endpoint.socket is not None:
        return None
    shown = ", ".join(seen.addresses[:_SHOWN])
    more = f" and {len(seen.addresses) - _SHOWN} more" if len(seen.addresses) > _SHOWN else ""
    return Finding(step="lookup", what=f"{endpoint.host}: {shown}{more}")


def _peer(seen: Witness, endpoint: Endpoint, failure: SessionFailed | None) -> str:
    place = endpoint.socket if endpoint.socket is not None else f"{endpoint.host}:{endpoint.port}"
    return printable((failure.peer if failure is not None else seen.peer) or place)


def _greeted(seen: Witness) -> Finding | None:
    if seen.greeting is None:
        return None
    words = printable(seen.greeting.text, limit=_WORDS)
    return Finding(step="greeting", what=f"{words} (after {seen.milliseconds:.0f} ms)")


def _encrypted(seen: Witness, endpoint: Endpoint) -> Finding | None:
    if endpoint.security is Security.NONE:
        return Finding(step="tls", what="none, as the configuration says")
    if not seen.tls:
        return warned("tls", "none: the server offers it not, or it failed", "mail travels in the clear")
    if endpoint.security is Security.OPPORTUNISTIC:
        hint = "'tls = \"starttls\"' verifies it, if the certificate is good"
        return warned("tls", f"{seen.tls}, the certificate is not verified", hint)
    pinned = ", the key is one of the pins" if endpoint.pins else ""
    return Finding(step="tls", what=f"{seen.tls}, certificate and name verified{pinned}")


def certificate_finding(certificate: dict[str, Any], octets: bytes, now: datetime) -> Finding:
    """Tell whose certificate it is, who issued it, and how long it is good; of one not verified only the last."""
    names = [name for kind, name in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    subject = _name_in(certificate.get("subject"), "commonName") or ", ".join(names[:2])
    issuer = " ".join(
        filter(None, (_name_in(certificate.get("issuer"), kind) for kind in ("organizationName", "commonName")))
    )
    whose = f"{subject or 'nobody'}, issued by {issuer or 'nobody'}" if certificate else "not verified"
    try:
        end = expires(octets)
    except ValueError as error:
        return warned("certificate", f"{printable(whose)}: {error}")
    days = (end - now).days
    what = printable(f"{whose}, good for {days} days (to {end:%Y-%m-%d})")
    if days < _DAYS_TO_WARN:
        return warned("certificate", what, "have the server's postmaster renew it before mail stops")
    return Finding(step="certificate", what=what)


def _name_in(name: Any, kind: str) -> str:
    """Return the first part of that kind of a name as getpeercert gives it."""
    return next((value for part in name or () for key, value in part if key == kind), "")


def _extended(seen: Witness) -> Finding | None:
    if seen.hello is None:
        return None
    known = read_extensions(seen.hello)
    words = [name for name in _MATTER if name in known.names]
    if known.size_limit:
        words.append(f"messages of up to {known.size_limit / 1e6:.0f} MB")
    return Finding(step="ehlo", what=", ".join(words) or "no extensions")


def _authenticated(seen: Witness, endpoint: Endpoint) -> Finding:
    if endpoint.credentials is not None:
        user = printable(endpoint.credentials.user) or "what the client certificate says"
        return Finding(step="auth", what=f"{seen.mechanism} as {user}")
    offered = read_extensions(seen.hello).auth if seen.hello is not None else ()
    more = f" (the server offers {printable(', '.join(offered), limit=_WORDS)})" if offered else ""
    return Finding(step="auth", what=f"no login is configured{more}")
