"""What does a token say about itself, and which step of an administrator is missing? For people, not for decisions.

Reads a JWT without verifying it: it is ours, and the server will judge it. The replies are those of Microsoft 365 and
Google; a token that is no JWT (Google's are not) has no facts to tell. RFC 7519 (JWT), RFC 9068 (access tokens).
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maildrop.smtp.reply import Reply

_AUDIENCES = ("https://outlook.office365.com", "https://outlook.office.com")
_EXCHANGE_ONLINE = "00000002-0000-0ff1-ce00-000000000000"  # the same resource by its application id
_APP_ROLE = "SMTP.SendAsApp"
_USER_SCOPE = "SMTP.Send"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """The claims that matter for sending mail; empty where the token does not say. ``expires`` is in UTC."""

    audience: str = ""
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    application: str = ""
    object_id: str = ""
    user: str = ""
    expires: datetime | None = None

    @property
    def is_for_exchange(self) -> bool:
        """Return whether Microsoft's mail servers are the audience."""
        return self.audience == _EXCHANGE_ONLINE or self.audience.rstrip("/") in _AUDIENCES


def explain_token(token: str) -> TokenFacts | None:
    """Return what a token says, or None if it is no JWT; never raises. The facts are no secrets, and not trusted."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    return TokenFacts(
        audience=_first(claims, "aud"),
        scopes=tuple(_first(claims, "scp").split() or _first(claims, "scope").split()),
        roles=tuple(role for role in _list(claims.get("roles")) if isinstance(role, str)),
        application=_first(claims, "appid") or _first(claims, "azp"),
        object_id=_first(claims, "oid"),
        user=_first(claims, "upn") or _first(claims, "preferred_username") or _first(claims, "sub"),
        expires=_time(claims.get("exp")),
    )


def missing_step(reply: Reply, facts: TokenFacts | None) -> str:
    """Return which step of an administrator a server's refusal asks for, or nothing where it is not known.

    ``facts`` are of the token that was refused, None for a password or a token that is no JWT.
    """
    text = f"{reply.code} {reply.text}"
    for sign, step in _REPLIES:
        if sign in text:
            return step
    if reply.code == 535 and facts is not None and (reply.enhanced in (None, "5.7.3", "5.7.8")):
        return _token_fault(facts) or _NO_SERVICE_PRINCIPAL
    if "5.7.3" in text:
        return "sign in with OAuth, or check user and password: Microsoft 365 refuses passwords for most mailboxes"
    return ""


def token_step(error: str) -> str:
    """Return which step a token server's refusal asks for, or nothing where it is not known."""
    return next((step for sign, step in _TOKEN_ERRORS if sign in error), "")


def _token_fault(facts: TokenFacts) -> str:
    """Return what is wrong with a token for Microsoft 365, judged by what it says."""
    if not facts.is_for_exchange:
        return (f"the token is for '{facts.audience}': ask for the scope https://outlook.office365.com/.default "
                "(an application) or https://outlook.office.com/SMTP.Send (a user)")  # fmt: skip
    if facts.roles or not facts.scopes:
        if _APP_ROLE in facts.roles:
            return ""
        return (f"the application has no role {_APP_ROLE}: add it under 'API permissions', 'APIs my organization "
                "uses', 'Office 365 Exchange Online', 'Application permissions', and grant admin consent")  # fmt: skip
    if _USER_SCOPE in facts.scopes:
        return ("the token is of a user with the right scope: check that 'user' is this user's mailbox "
                f"({facts.user or 'not named in the token'})")  # fmt: skip
    return f"the token allows {', '.join(facts.scopes)}: the user has to consent to {_USER_SCOPE}, too"


_NO_SERVICE_PRINCIPAL = (
    "the token is right, so Exchange does not know the application: run New-ServicePrincipal -AppId CLIENT_ID "
    "-ObjectId OBJECT_ID with the object id of the Enterprise application (the token's oid), not of the app "
    "registration, then Add-MailboxPermission -Identity MAILBOX -User OBJECT_ID -AccessRights FullAccess; both take up "
    "to 30 minutes to work"
)
_SMTP_AUTH_OFF = (
    "SMTP AUTH is switched off: Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false for the "
    "mailbox, which counts before the organization's Set-TransportConfig -SmtpClientAuthenticationDisabled"
)
_SEND_AS = (
    "the user may not send as this author: Add-RecipientPermission AUTHOR -Trustee USER -AccessRights SendAs (for an "
    "application: its service principal), or let the author be the mailbox itself"
)
_CONDITIONS = "a policy (security defaults, Conditional Access) blocks SMTP AUTH with a password: use OAuth"
_DELEGATION = (
    "Google: enter the service account's client id and the scope https://mail.google.com/ under 'Domain-wide "
    "delegation' of the admin console"
)
# What the text of a reply holds, and the step; the first that fits counts.
_REPLIES = (
    ("user credentials were incorrect", "check user and password"),
    ("security defaults", _CONDITIONS),
    ("did not meet the criteria", _CONDITIONS),
    ("5.7.139", _SMTP_AUTH_OFF),
    ("SmtpClientAuthentication is disabled", _SMTP_AUTH_OFF),
    ("5.7.30", "passwords are retired there: use OAuth ([relays.NAME.auth.oauth])"),
    ("5.2.252", _SEND_AS),
    ("SendAsDenied", _SEND_AS),
    ("Application-specific password required", "Google wants an app password, or OAuth"),
    ("Username and Password not accepted", "Google takes an app password or OAuth, not the account's password"),
)
_TOKEN_ERRORS = (
    ("AADSTS7000215", "write the secret's value there, not its id"),
    ("AADSTS7000222", "the client secret has expired: make a new one under 'Certificates & secrets'"),
    ("AADSTS700016", "client_id is to be the 'Application (client) ID' of an application in this tenant"),
    ("AADSTS700082", "the refresh token has expired: sign the user in again"),
    ("AADSTS90002", "check 'tenant': the 'Directory (tenant) ID' or a domain of the organization"),
    ("AADSTS1002012", "an application asks for the scope https://outlook.office365.com/.default"),
    ("AADSTS70011", "check 'scope'"),
    ("AADSTS65001", "grant admin consent to the application's permissions"),
    ("AADSTS50173", "the refresh token was revoked by a new password: sign the user in again"),
    ("Token has been expired or revoked", "sign the user in again"),
    ("unauthorized_client: Client is unauthorized to retrieve access tokens", _DELEGATION),
)


def _first(claims: dict[str, Any], name: str) -> str:
    value = next(iter(_list(claims.get(name))), "")
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else None
    except (ValueError, OverflowError, OSError):
        return None
