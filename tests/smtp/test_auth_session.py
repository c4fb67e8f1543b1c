"""AUTH in sessions over real sockets: what each mechanism says, what follows a refusal, and what never shows."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import scramp

from maildrop.smtp import (
    Credentials,
    CredentialsUnavailable,
    Endpoint,
    Secret,
    Security,
    SessionFailed,
    Stage,
    Timeouts,
    Transcript,
    connect,
)
from maildrop.smtp.protocol import Client
from maildrop.smtp.steps import Phase

PASSWORD = "correct horse battery"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL291dGxvb2sifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
BY_PASSWORD = Credentials(user="anna@example.com", password=Secret(PASSWORD))
BY_TOKEN = Credentials(user="anna@example.com", token=Secret(TOKEN), host="localhost", port=587)
GREETING = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\ntls good\nC: EHLO *\nS: 250-mx\n"


class Source:
    """Gives one credentials after the other; each refusal moves on to the next."""

    def __init__(self, *each: Credentials | CredentialsUnavailable, better: bool = True) -> None:
        self.each = list(each)
        self.better = better
        self.asked = 0
        self.was_refused: list[Credentials] = []

    async def credentials(self) -> Credentials:
        """Return the next ones, or fail as they say."""
        self.asked += 1
        first = self.each[0]
        if isinstance(first, CredentialsUnavailable):
            raise first
        return first

    def refused(self, credentials: Credentials) -> bool:
        """Move on."""
        self.was_refused.append(credentials)
        self.each.pop(0)
        return self.better

    def changed(self) -> bool:
        """Tell nothing."""
        return False


def coded(text: str) -> str:
    """Return text as it travels."""
    return b64encode(text.encode()).decode()


def endpoint(port: int, certificates: Any, **changes: Any) -> Endpoint:
    """Return an endpoint with verified STARTTLS."""
    usual = Endpoint(
        relay="test", host="localhost", port=port, security=Security.STARTTLS, hostname="client.example",
        tls=certificates.trusting, timeouts=Timeouts(connect=4, greeting=4, tls=4, ehlo=4, auth=4),
    )  # fmt: skip
    return replace(usual, **changes)


def meet(where: Endpoint) -> tuple[SessionFailed | None, str]:
    """Open a session; return how it failed, if it did, and everything that could be shown."""
    transcript = Transcript()

    async def main() -> None:
        (await connect(where, transcript=transcript)).abort()

    try:
        asyncio.run(main())
    except SessionFailed as failed:
        return failed, f"{transcript.text()}{failed}{failed!r}{failed.reply}{failed.hint}"
    return None, transcript.text()


Starter = Callable[..., Any]


@pytest.mark.parametrize("last", ["S: 334 {final}|C: |S: 235 ok", "S: 235 2.7.0 {final}"])
def test_scram(last: str) -> None:
    """Neither the password nor what could be guessed against is shown; the server proves itself in one of two ways."""
    stored = scramp.ScramMechanism("SCRAM-SHA-256").make_auth_info(PASSWORD)
    scram = scramp.ScramMechanism("SCRAM-SHA-256").make_server(lambda _user: stored)
    transcript = Transcript()
    client = Client(
        hostname="c", security=Security.NONE, transcript=transcript, credentials=BY_PASSWORD, plaintext_auth=True
    )
    client.receive(b"220 mx\r\n")
    client.receive(b"250-mx\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n")
    first = client.take_output().decode().removeprefix("EHLO c\r\nAUTH SCRAM-SHA-256 ")
    scram.set_client_first(b64decode(first).decode())
    challenge = coded(scram.get_server_first())
    client.receive(f"334 {challenge}\r\n".encode())
    second = client.take_output().decode()
    scram.set_client_final(b64decode(second).decode())
    final = coded(scram.get_server_final())
    for line in last.format(final=final).split("|"):
        if line.startswith("S: "):
            client.receive(f"{line[3:]}\r\n".encode())
        else:
            assert client.take_output() == b"\r\n"
    assert client.phase is Phase.READY
    shown = transcript.text()
    assert "C: AUTH SCRAM-SHA-256 ***\nS: 334 ***\nC: ***\n" in shown
    for secret in (first.strip(), second.strip(), b64decode(second).decode(), challenge):
        assert secret not in shown


def test_a_server_that_can_not_prove_itself(start_server: Starter, certificates: Any) -> None:
    """A yes without a proof is a fault of the configuration, and no mail is sent there."""
    server = start_server(f"{GREETING}S: 250 AUTH SCRAM-SHA-256\nC: AUTH SCRAM-SHA-256 *\nS: 235 welcome\nsilence")
    failed, _ = meet(endpoint(server.port, certificates, credentials=BY_PASSWORD))
    assert failed is not None
    assert (failed.stage, failed.configuration) == (Stage.AUTH, True)
    assert "does not prove that it knows the password" in str(failed)
    assert server.join() == []


def test_a_hostile_scram_server(start_server: Starter, certificates: Any) -> None:
    """A nonce that is not ours, or garbage, ends the session in words and shows nothing of the challenge."""
    for challenge in (coded("r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), "%%%"):
        server = start_server(f"{GREETING}S: 250 AUTH SCRAM-SHA-256\nC: AUTH *\nS: 334 {challenge}\nsilence")
        failed, shown = meet(endpoint(server.port, certificates, credentials=BY_PASSWORD))
        assert failed is not None
        assert failed.configuration
        assert challenge not in shown
        assert "S: 334 ***" in shown


def test_cram_md5_is_not_shown(start_server: Starter, certificates: Any) -> None:
    """Challenge and digest together would let others guess the password: neither is kept, even if the server echoes."""
    challenge = coded("<1896.697170952@mx.example>")
    script = (
        f"{GREETING}S: 250 AUTH CRAM-MD5\nC: AUTH CRAM-MD5\nS: 334 {challenge}\nC: *\n"
        "S: 535 5.7.8 anna@example.com 8d5fa8be8f4d9b5b4f3b1c0a3b2e6b1f no\nsilence"
    )
    server = start_server(script)
    failed, shown = meet(endpoint(server.port, certificates, credentials=BY_PASSWORD))
    assert failed is not None
    digest = bytes(server.heard).split(b"\r\n")[-2].decode()
    assert b64decode(digest).decode().startswith("anna@example.com ")
    for secret in (challenge, digest, b64decode(digest).decode().split()[1]):
        assert secret not in shown
    assert "535 5.7.8 anna@example.com" in shown


@pytest.mark.parametrize(("mechanism", "acknowledgement"), [("XOAUTH2", ""), ("OAUTHBEARER", "AQ==")])
def test_a_refused_token_is_explained(
    mechanism: str, acknowledgement: str, start_server: Starter, certificates: Any
) -> None:
    """The server's reason stands in the 535's text; the token in no form anywhere, echoed or not."""
    why = coded('{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}')
    server = start_server(
        f"{GREETING}S: 250 AUTH {mechanism}\nC: AUTH {mechanism} *\nS: 334 {why}\nC: {acknowledgement}\n"
        f"S: 535 5.7.8 refused: Bearer {TOKEN} {coded(TOKEN)} {TOKEN[10:40]}\nsilence"
    )
    failed, shown = meet(endpoint(server.port, certificates, credentials=BY_TOKEN))
    assert failed is not None
    assert failed.configuration
    assert "(it explains: status 401, schemes bearer, scope https://mail.google.com/)" in str(failed)
    said = bytes(server.heard).decode().split(f"AUTH {mechanism} ")[1].split("\r\n")[0]
    assert TOKEN in b64decode(said).decode()
    for secret in (TOKEN, coded(TOKEN), TOKEN[10:40], said, said[8:40], why):
        assert secret not in shown
    assert server.join() == []


def test_a_token_that_is_taken(start_server: Starter, certificates: Any) -> None:
    """A long token waits for the server's challenge, and opens the session."""
    credentials = replace(BY_TOKEN, token=Secret("t" * 2000))
    server = start_server(f"{GREETING}S: 250 AUTH XOAUTH2\nC: AUTH XOAUTH2\nS: 334 \nC: *\nS: 235 2.7.0 ok\nsilence")
    failed, shown = meet(endpoint(server.port, certificates, credentials=credentials))
    assert failed is None
    assert "tttttttt" not in shown


def test_504_leads_to_the_next_mechanism(start_server: Starter, certificates: Any) -> None:
    """A mechanism that the server does not have after all is followed by the next, in the same session."""
    server = start_server(
        f"{GREETING}S: 250 AUTH PLAIN LOGIN\nC: AUTH PLAIN *\nS: 504 5.5.4 unrecognized\n"
        f"C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: *\nS: 334 UGFzc3dvcmQ6\nC: *\nS: 235 ok\nsilence"
    )
    failed, shown = meet(endpoint(server.port, certificates, credentials=BY_PASSWORD))
    assert failed is None
    assert PASSWORD not in shown
    assert coded(PASSWORD) not in shown


def test_535_does_not(start_server: Starter, certificates: Any) -> None:
    """A refused password is not tried again by another mechanism."""
    server = start_server(f"{GREETING}S: 250 AUTH PLAIN LOGIN\nC: AUTH PLAIN *\nS: 535 5.7.8 no\nsilence")
    failed, _ = meet(endpoint(server.port, certificates, credentials=BY_PASSWORD))
    assert failed is not None
    assert failed.configuration
    assert server.join() == []
    assert bytes(server.heard).count(b"AUTH ") == 1


def test_no_password_inside_of_unverified_tls(start_server: Starter, certificates: Any) -> None:
    """Opportunistic TLS is not verified, so nobody authenticates in it, not even a relay that offers nothing else."""
    server = start_server(f"{GREETING}S: 250 AUTH PLAIN\nsilence")
    failed, _ = meet(endpoint(server.port, certificates, credentials=BY_PASSWORD, security=Security.OPPORTUNISTIC))
    assert failed is not None
    assert (failed.stage, failed.configuration) == (Stage.AUTH, True)
    assert "not sent without verified TLS" in str(failed)
    server.wait_for_end()
    assert b"AUTH" not in server.heard


# Sources of credentials

TAKEN = "S: 250 AUTH XOAUTH2 PLAIN\nC: AUTH *\nS: 235 ok\nsilence"
REFUSED = "S: 250 AUTH XOAUTH2 PLAIN\nC: AUTH *\nS: 535 5.7.3 no\n"


def test_a_source_is_asked_for_each_session(start_server: Starter, certificates: Any) -> None:
    """Credentials come from the source, before anything is dialled."""
    source = Source(BY_TOKEN)
    server = start_server(GREETING + TAKEN)
    assert meet(endpoint(server.port, certificates, source=source))[0] is None
    assert (source.asked, source.was_refused) == (1, [])


def test_refused_credentials_are_replaced_at_once(start_server: Starter, certificates: Any) -> None:
    """Where the source has others, one more connection tries them."""
    source = Source(BY_TOKEN, replace(BY_TOKEN, token=Secret("another token")))
    server = start_server(GREETING + REFUSED + "connection\n" + GREETING + TAKEN)
    failed, shown = meet(endpoint(server.port, certificates, source=source))
    assert failed is None
    assert source.was_refused == [BY_TOKEN]
    assert "once more with other credentials" in shown


def test_refused_twice_is_enough(start_server: Starter, certificates: Any) -> None:
    """The second refusal stands, whatever the source could have."""
    source = Source(BY_TOKEN, BY_TOKEN, BY_TOKEN)
    server = start_server(GREETING + REFUSED + "connection\n" + GREETING + REFUSED + "silence")
    failed, _ = meet(endpoint(server.port, certificates, source=source))
    assert failed is not None
    assert failed.configuration
    assert (source.asked, len(source.was_refused)) == (2, 1)
    assert server.join() == []


def test_refused_without_others(start_server: Starter, certificates: Any) -> None:
    """Where the source has no others the refusal stands at once."""
    source = Source(BY_TOKEN, better=False)
    server = start_server(GREETING + REFUSED + "silence")
    failed, _ = meet(endpoint(server.port, certificates, source=source))
    assert failed is not None
    assert (source.asked, source.was_refused) == (1, [BY_TOKEN])


@pytest.mark.parametrize("reply", ["454 4.7.0 later", "421 4.3.2 closing"])
def test_trouble_is_no_refusal(reply: str, start_server: Starter, certificates: Any) -> None:
    """What the server can't judge now says nothing about the credentials."""
    source = Source(BY_TOKEN)
    server = start_server(f"{GREETING}S: 250 AUTH XOAUTH2\nC: AUTH *\nS: {reply}\nsilence")
    failed, _ = meet(endpoint(server.port, certificates, source=source))
    assert failed is not None
    assert not failed.configuration
    assert source.was_refused == []


@pytest.mark.parametrize("configuration", [True, False])
def test_no_credentials_to_be_had(configuration: bool, certificates: Any) -> None:  # noqa: FBT001
    """Without credentials nothing is dialled; whose fault it is, the source says."""
    source = Source(CredentialsUnavailable("the token server refuses: invalid_client", configuration=configuration))
    failed, shown = meet(endpoint(1, certificates, source=source))
    assert failed is not None
    assert (failed.stage, failed.configuration) == (Stage.AUTH, configuration)
    assert "the token server refuses: invalid_client" in str(failed)
    assert "connect" not in shown.lower()


def test_nothing_is_logged(
    start_server: Starter, certificates: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever the mechanism, no log at any level and neither stream holds a form of the secret."""
    caplog.set_level(logging.DEBUG)
    for mechanism, credentials in (
        ("PLAIN", BY_PASSWORD), ("LOGIN", BY_PASSWORD), ("CRAM-MD5", BY_PASSWORD), ("SCRAM-SHA-256", BY_PASSWORD),
        ("XOAUTH2", BY_TOKEN), ("OAUTHBEARER", BY_TOKEN),
    ):  # fmt: skip
        server = start_server(f"{GREETING}S: 250 AUTH {mechanism}\nC: AUTH *\nS: 535 5.7.8 no\nsilence")
        failed, shown = meet(endpoint(server.port, certificates, credentials=credentials))
        assert failed is not None
        out, err = capfd.readouterr()
        everything = shown + out + err + caplog.text
        said = [line.split(" ")[-1] for line in bytes(server.heard).decode().split("\r\n") if line.startswith("AUTH")]
        for secret in (PASSWORD, coded(PASSWORD), TOKEN, *(word for word in said if word != mechanism)):
            assert secret not in everything
