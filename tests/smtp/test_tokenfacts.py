"""`maildrop.smtp.tokenfacts`: what a token says, and the step that an administrator has left out."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.smtp import Reply
from maildrop.smtp.tokenfacts import TokenFacts, explain_token, missing_step, token_step


def jwt(claims: Any) -> str:
    """Return a token with these claims; nobody verifies its signature here."""
    octets = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return f"e30.{urlsafe_b64encode(octets).decode().rstrip('=')}.c2ln"


def test_an_applications_token() -> None:
    """Audience, roles, application and object of a Microsoft token, and when it ends."""
    claims = {
        "aud": "https://outlook.office365.com", "roles": ["SMTP.SendAsApp"], "appid": "app", "oid": "object",
        "exp": 1764000000, "sub": "object",
    }  # fmt: skip
    facts = explain_token(jwt(claims))
    assert facts == TokenFacts(
        audience="https://outlook.office365.com",
        roles=("SMTP.SendAsApp",),
        application="app",
        object_id="object",
        user="object",
        expires=datetime(2025, 11, 24, 16, 0, tzinfo=UTC),
    )
    assert facts.is_for_exchange


def test_a_users_token() -> None:
    """Scopes and name of a user's token; version 2 of Microsoft's tokens names the application otherwise."""
    claims = {"aud": ["https://outlook.office.com/"], "scp": "SMTP.Send IMAP", "upn": "anna@example.com", "azp": "app"}
    facts = explain_token(jwt(claims))
    assert facts is not None
    assert facts.is_for_exchange
    assert (facts.scopes, facts.user, facts.application) == (("SMTP.Send", "IMAP"), "anna@example.com", "app")


@pytest.mark.parametrize(
    "token",
    ["", "ya29.a0AfH6SMB", "a.b", "a.b.c", "a.%%%.c", "a.W10.c", jwt([1]), jwt(b"\xff"), jwt(b"[" * 9000), "..."],
)
def test_what_is_no_token_to_read(token: str) -> None:
    """A token that is no JWT has nothing to tell."""
    assert explain_token(token) is None


@given(
    st.dictionaries(
        st.sampled_from(["aud", "scp", "scope", "roles", "appid", "oid", "upn", "exp"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists),
    )
)
def test_claims_of_any_type(claims: dict[str, Any]) -> None:
    """Nothing that a token claims raises, and whatever is told can be used for the advice."""
    facts = explain_token(jwt(claims))
    assert facts is not None
    assert missing_step(Reply(code=535, lines=("5.7.3 no",)), facts)


APPLICATION = TokenFacts(audience="https://outlook.office365.com", roles=("SMTP.SendAsApp",), object_id="o")
USER = TokenFacts(audience="00000002-0000-0ff1-ce00-000000000000", scopes=("SMTP.Send",), user="anna@example.com")


@pytest.mark.parametrize(
    ("reply", "facts", "step"),
    [
        ("535 5.7.3 Authentication unsuccessful", APPLICATION, "of the Enterprise application"),
        ("535 5.7.3 Authentication unsuccessful", TokenFacts(audience="https://graph.microsoft.com"),
         "the token is for 'https://graph.microsoft.com': ask for the scope https://outlook.office365.com/.default"),
        ("535 5.7.3 Authentication unsuccessful", TokenFacts(audience="https://outlook.office365.com"),
         "the application has no role SMTP.SendAsApp"),
        ("535 5.7.3 no", TokenFacts(audience="https://outlook.office365.com", roles=("Mail.Send",)), "no role SMTP"),
        ("535 5.7.3 no", TokenFacts(audience="https://outlook.office.com/", scopes=("IMAP", "POP")),
         "the token allows IMAP, POP: the user has to consent to SMTP.Send"),
        ("535 5.7.3 no", USER, "check that 'user' is this user's mailbox (anna@example.com)"),
        ("535 5.7.3 no", None, "sign in with OAuth"),
        ("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.", APPLICATION,
         "Set-CASMailbox"),
        ("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.", None,
         "-SmtpClientAuthenticationDisabled $false"),
        ("535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.", None,
         "check user and password"),
        ("535 5.7.139 Authentication unsuccessful, user is locked by the security defaults policy.", None,
         "use OAuth"),
        ("535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated", None,
         "Conditional Access"),
        ("550 5.7.30 Basic authentication is not supported for Client Submission.", None, "use OAuth"),
        ("554 5.2.252 SendAsDenied; app@example.com not allowed to send as boss@example.com", APPLICATION,
         "Add-RecipientPermission AUTHOR"),
        ("534 5.7.9 Application-specific password required.", None, "app password"),
        ("535 5.7.8 Username and Password not accepted.", None, "app password or OAuth"),
        ("535 5.7.8 no", None, ""),
        ("454 4.7.0 later", APPLICATION, ""),
        ("550 5.1.1 no such user", APPLICATION, ""),
    ],
)  # fmt: skip
def test_the_missing_step(reply: str, facts: TokenFacts | None, step: str) -> None:
    """Each refusal that administrators meet is told with what they have to do."""
    found = missing_step(Reply(code=int(reply[:3]), lines=(reply[4:],)), facts)
    assert step in found
    assert bool(step) == bool(found)


@pytest.mark.parametrize(
    ("error", "step"),
    [
        ("invalid_client: AADSTS7000215: Invalid client secret provided.", "the secret's value"),
        ("invalid_client: AADSTS7000222: The provided client secret keys are expired.", "make a new one"),
        ("unauthorized_client: AADSTS700016: Application was not found", "client_id"),
        ("invalid_grant: AADSTS700082: The refresh token has expired", "sign the user in again"),
        ("invalid_request: AADSTS90002: Tenant not found", "tenant"),
        ("invalid_scope: AADSTS1002012: ...", "https://outlook.office365.com/.default"),
        ("unauthorized_client: Client is unauthorized to retrieve access tokens using this method", "Domain-wide"),
        ("invalid_grant: Bad Request", ""),
    ],
)
def test_the_step_of_a_refused_request(error: str, step: str) -> None:
    """What token servers say is told with the way out where it is known."""
    assert step in token_step(error)
    assert bool(step) == bool(token_step(error))
