"""How do we prove who we are? SASL exchanges as small machines: challenge in, response out.

Knows the mechanisms, their order and when one may follow another; refuses to know how the lines travel and whether the
channel is safe enough, which `maildrop.smtp.opening` decides. RFC 4954 (AUTH), RFC 4616 (PLAIN), RFC 2195 (CRAM-MD5),
RFC 7628 (OAUTHBEARER), RFC 4422 appendix A (EXTERNAL); LOGIN is an expired draft that Exchange and others still want,
XOAUTH2 is Google's and Microsoft's own. SCRAM is `maildrop.smtp.scram`'s.

The strongest comes first: a proof that does not give the password away, then the password itself, which is safe inside
of verified TLS, and CRAM-MD5 last: there it protects nothing that TLS does not, and servers that offer it without
keeping the password in the clear refuse every try. PLAIN and LOGIN send a password in UTF-8 as it was written,
CRAM-MD5 takes it for its key like this, SCRAM prepares it with SASLprep (RFC 4013) as both sides must.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from collections.abc import Callable, Collection, Sequence

from maildrop.errors import printable
from maildrop.smtp.credentials import Credentials
from maildrop.smtp.mechanism import SCRAM, Mechanism, MechanismError, decoded
from maildrop.smtp.redactor import Redactor
from maildrop.smtp.reply import Reply

_LINE_OCTETS = 510  # RFC 5321 section 4.5.3.1.4, without CRLF; RFC 4954 section 4: a longer initial response waits
_TOLD_CHARACTERS = 300


class _Spoken:
    """What mechanisms have in common that say everything in one response, and once to a server that asks for it."""

    private = False

    def __init__(self, message: bytes = b"") -> None:
        self._message = message
        self._asked = False

    def initial(self) -> bytes | None:
        return self._message

    def respond(self, challenge: str) -> bytes | None:  # noqa: ARG002 - an empty challenge, whatever its wording
        if self._asked:
            return None
        self._asked = True
        return self._message

    def succeed(self, text: str) -> None:
        """Expect nothing of the server."""

    def told(self) -> str:
        return ""


class _Plain(_Spoken):
    name = "PLAIN"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(f"\0{credentials.user}\0{_password(credentials)}".encode())


class _External(_Spoken):
    name = "EXTERNAL"  # the client certificate says who we are; ``user`` as whom to act, if that is another

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials.user.encode())


class _Login(_Spoken):
    name = "LOGIN"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._answers = iter((credentials.user.encode(), _password(credentials).encode()))

    def initial(self) -> bytes | None:
        return None  # not every server with LOGIN takes one

    def respond(self, challenge: str) -> bytes | None:  # noqa: ARG002 - the prompts' wording varies, their order does not
        return next(self._answers, None)


class _CramMd5(_Spoken):
    name = "CRAM-MD5"
    private = True

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._user, self._key = credentials.user.encode(), _password(credentials).encode()

    def initial(self) -> bytes | None:
        return None

    def respond(self, challenge: str) -> bytes | None:
        if self._asked:
            return None
        self._asked = True
        try:
            digest = hmac.new(self._key, decoded(challenge), "md5").hexdigest()
        except ValueError:
            raise MechanismError("the cryptographic library of this machine has no MD5") from None
        return self._user + b" " + digest.encode("ascii")


class _Bearer(_Spoken):
    """A token; a refusal is explained in a challenge that must be answered before the 535 comes."""

    private = True

    def __init__(self, message: bytes, *, acknowledgement: bytes) -> None:
        super().__init__(message)
        self._acknowledgement = acknowledgement
        self._told = ""

    def respond(self, challenge: str) -> bytes | None:
        if not challenge.strip() and not self._asked:
            return super().respond(challenge)
        if self._told:
            return None
        self._told = _explained(challenge)
        return self._acknowledgement

    def told(self) -> str:
        return self._told


class _OAuthBearer(_Bearer):
    name = "OAUTHBEARER"

    def __init__(self, credentials: Credentials) -> None:
        user = credentials.user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 section 4: saslname
        place = f"host={credentials.host}\1port={credentials.port}\1" if credentials.host else ""
        message = f"n,a={user},\1{place}auth=Bearer {_token(credentials)}\1\1"
        super().__init__(message.encode(), acknowledgement=b"\1")


class _XOAuth2(_Bearer):
    name = "XOAUTH2"

    def __init__(self, credentials: Credentials) -> None:
        message = f"user={credentials.user}\1auth=Bearer {_token(credentials)}\1\1"
        super().__init__(message.encode(), acknowledgement=b"")


def _scram(credentials: Credentials) -> Mechanism:
    from maildrop.smtp.scram import Scram  # noqa: PLC0415  # its library takes 40 ms, and few servers offer it

    return Scram(credentials.user, _password(credentials))


_STRONGEST_FIRST: dict[str, Callable[[Credentials], Mechanism]] = {
    _External.name: _External,
    _OAuthBearer.name: _OAuthBearer,
    _XOAuth2.name: _XOAuth2,
    SCRAM: _scram,
    _Plain.name: _Plain,
    _Login.name: _Login,
    _CramMd5.name: _CramMd5,
}
KNOWN_MECHANISMS = tuple(_STRONGEST_FIRST)
TOKEN_MECHANISMS = (_OAuthBearer.name, _XOAuth2.name)
PASSWORD_MECHANISMS = (SCRAM, _Plain.name, _Login.name, _CramMd5.name)
_REVEALING = (_Plain.name, _Login.name)


def fitting(credentials: Credentials) -> Sequence[str]:
    """Return the mechanisms that these credentials can and may use, the strongest first."""
    fit: Sequence[str] = (_External.name,)
    if credentials.token is not None:
        fit = TOKEN_MECHANISMS
    elif credentials.password is not None:
        fit = PASSWORD_MECHANISMS
    allowed = credentials.mechanisms
    return [name for name in fit if name in allowed] if allowed else fit


class Exchange:
    """AUTH in one session: the strongest common mechanism, and another one only where no secret was judged."""

    def __init__(self, offered: Collection[str], credentials: Credentials, redactor: Redactor) -> None:
        """``offered`` is what the server has announced inside of TLS."""
        self._credentials = credentials
        self._redactor = redactor
        self._offered = offered
        self._names = [name for name in fitting(credentials) if name in offered]
        self._mechanism: Mechanism | None = None
        self._passed_over = ""

    def command(self) -> bytes | None:
        """Return the next AUTH command, or None: there is no other mechanism, and `why_not` tells it."""
        while self._names:
            name = self._names.pop(0)
            try:
                self._mechanism = _STRONGEST_FIRST[name](self._credentials)
            except MechanismError as error:
                self._passed_over += f"; {name} can't be used: {error}"
                continue
            self._redactor.private = self._mechanism.private
            return self._with_initial(self._mechanism)
        return None

    def respond(self, challenge: str) -> bytes | None:
        """Return the line that answers a 334, or None if there is nothing to say; raises `MechanismError`."""
        response = None if self._mechanism is None else self._mechanism.respond(challenge)
        return None if response is None else self._said(response)

    def succeed(self, text: str) -> None:
        """Take the text of the 235; raises `MechanismError` if the server has not proved itself."""
        if self._mechanism is not None:
            self._mechanism.succeed(text)
        self._mechanism = None
        self._redactor.private = False

    def may_go_on(self, reply: Reply) -> bool:
        """Return whether a refusal was about the mechanism alone, and there is another one to try.

        504: the server does not have it after all. 534 with 5.7.9: it is too weak for this user, so only one that does
        not show the password is left. Everything else judged the secret: asked again with other mechanisms a wrong one
        would count several times, and accounts get locked like this. RFC 4954 section 6.
        """
        if reply.code == 534 and reply.enhanced == "5.7.9":
            self._names = [name for name in self._names if name not in _REVEALING]
            return bool(self._names)
        return reply.code == 504 and bool(self._names)

    def told(self) -> str:
        """Return what the server said besides its reply, to be put behind it."""
        told = "" if self._mechanism is None else self._mechanism.told()
        return f" (it explains: {told})" if told else ""

    @property
    def why_not(self) -> str:
        """Return why no mechanism is left."""
        offered = ", ".join(self._offered) or "none"
        known = ", ".join(fitting(self._credentials)) or "none that fits these credentials"
        return f"no common AUTH mechanism: the server offers {offered}; expected one of {known}{self._passed_over}"

    def _with_initial(self, mechanism: Mechanism) -> bytes:
        line, initial = b"AUTH " + mechanism.name.encode("ascii"), mechanism.initial()
        if initial is None:
            return line
        whole = line + b" " + (b64encode(initial) or b"=")  # RFC 4954 section 4: "=" is an empty response
        if len(whole) > _LINE_OCTETS:
            return line
        self._said(initial)
        return whole

    def _said(self, response: bytes) -> bytes:
        if self._redactor.private:
            self._redactor.learn(response)
        return b64encode(response)


def _explained(challenge: str) -> str:
    try:
        text = decoded(challenge).decode("utf-8", "replace")
    except MechanismError:
        return "something that is not base64"
    try:
        fields = json.loads(text)
        if isinstance(fields, dict):
            text = ", ".join(f"{key} {value}" for key, value in fields.items() if isinstance(value, str | int))
    except (ValueError, RecursionError):
        text = text.strip()  # not JSON: shown as it is
    return printable(text, limit=_TOLD_CHARACTERS) or "nothing"


def _password(credentials: Credentials) -> str:
    return "" if credentials.password is None else credentials.password.reveal()


def _token(credentials: Credentials) -> str:
    return "" if credentials.token is None else credentials.token.reveal()
