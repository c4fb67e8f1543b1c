"""`maildrop.smtp.auth`: what is said to a server, in which order, and when it is given up."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest

from maildrop.smtp import Credentials, Reply, Secret
from maildrop.smtp.auth import KNOWN_MECHANISMS, Exchange, fitting
from maildrop.smtp.mechanism import MechanismError
from maildrop.smtp.redactor import Redactor

PASSWORD = "pa\u00dfwort 123"
ANNA = Credentials(user="anna", password=Secret(PASSWORD))
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
BEARER = Credentials(user="user@example.com", token=Secret(TOKEN), host="server.example.com", port=587)
EVERYTHING = ("GSSAPI", "LOGIN", "PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER", "EXTERNAL")


def exchange(*offered: str, credentials: Credentials = ANNA) -> Exchange:
    """Begin an exchange with a server that offers these mechanisms."""
    return Exchange(offered, credentials, Redactor(credentials))


def words(line: bytes | None) -> tuple[str, ...]:
    """Return the command's words, the initial response decoded."""
    assert line is not None
    verb, mechanism, *initial = line.decode("ascii").split(" ")
    assert verb == "AUTH"
    return (mechanism, *(b64decode(word).decode() for word in initial))


def coded(text: str) -> str:
    """Return a challenge as it travels."""
    return b64encode(text.encode()).decode()


def said(line: bytes | None) -> str:
    """Return what a line says."""
    assert line is not None
    return b64decode(line, validate=True).decode()


def test_plain() -> None:
    """PLAIN says everything at once in UTF-8, and once more to a server that asks again, but no third time."""
    plain = exchange("LOGIN", "PLAIN")
    assert words(plain.command()) == ("PLAIN", f"\0anna\0{PASSWORD}")
    assert said(plain.respond("")) == f"\0anna\0{PASSWORD}"
    assert plain.respond("") is None


def test_login() -> None:
    """LOGIN waits to be asked, answers user and password in that order, and then has no more to say."""
    login = exchange("GSSAPI", "LOGIN")
    assert login.command() == b"AUTH LOGIN"
    assert said(login.respond("VXNlcm5hbWU6")) == "anna"
    assert said(login.respond("%%%")) == PASSWORD
    assert login.respond("") is None


def test_cram_md5() -> None:
    """CRAM-MD5 gives the digest of RFC 2195's example, once."""
    credentials = Credentials(user="tim", password=Secret("tanstaaftanstaaf"))
    cram = exchange("CRAM-MD5", credentials=credentials)
    assert cram.command() == b"AUTH CRAM-MD5"
    challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    assert cram.respond(challenge) == b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"
    assert cram.respond(challenge) is None


@pytest.mark.parametrize("challenge", ["%%%", "PDE4OTYu=", "\u00fc", "PDE4 OTYu"])
def test_a_challenge_that_is_not_base64(challenge: str) -> None:
    """What is not base64 is not guessed at."""
    cram = exchange("CRAM-MD5")
    cram.command()
    with pytest.raises(MechanismError, match="is not base64"):
        cram.respond(challenge)


def test_oauthbearer() -> None:
    """OAUTHBEARER says what RFC 7628 section 4.1 shows."""
    initial = (
        b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52"
        b"YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    credentials = Credentials(user="user@example.com", token=Secret(token), host="server.example.com", port=587)
    assert exchange("OAUTHBEARER", credentials=credentials).command() == b"AUTH OAUTHBEARER " + initial


def test_a_user_with_commas_in_oauthbearer() -> None:
    """A comma and an equals sign of the user's name are no part of the syntax around it."""
    credentials = Credentials(user="a,b=c", token=Secret("t"), host="h", port=1)
    assert words(exchange("OAUTHBEARER", credentials=credentials).command())[1].startswith("n,a=a=2Cb=3Dc,\1host=h\1")


def test_xoauth2() -> None:
    """XOAUTH2 says user and token as Google and Microsoft want them."""
    expected = ("XOAUTH2", f"user=user@example.com\1auth=Bearer {TOKEN}\1\1")
    assert words(exchange("XOAUTH2", "PLAIN", credentials=BEARER).command()) == expected


@pytest.mark.parametrize(("mechanism", "acknowledgement"), [("XOAUTH2", b""), ("OAUTHBEARER", b"AQ==")])
def test_why_a_token_is_refused(mechanism: str, acknowledgement: bytes) -> None:
    """The explanation of a refused token is acknowledged, so that the 535 comes, and told with it."""
    bearer = exchange(mechanism, credentials=BEARER)
    bearer.command()
    assert bearer.told() == ""
    why = coded(json.dumps({"status": "400", "schemes": "Bearer", "scope": "https://mail.google.com/"}))
    assert bearer.respond(why) == acknowledgement
    assert bearer.told() == " (it explains: status 400, schemes Bearer, scope https://mail.google.com/)"
    assert bearer.respond(why) is None


@pytest.mark.parametrize(
    ("challenge", "told"),
    [
        ("%%%", "something that is not base64"),
        (coded("invalid\x1b[31m token"), "invalid\\x1b[31m token"),
        (coded("[1, 2]"), "[1, 2]"),
        (coded("x" * 5000), "x" * 299 + "\u2026"),
        (coded("{" * 1000), "{" * 299 + "\u2026"),
        (coded("[" * 100_000), "[" * 299 + "\u2026"),
        (b64encode(b"\xff").decode(), "\ufffd"),
    ],
)
def test_an_explanation_of_any_kind(challenge: str, told: str) -> None:
    """An explanation that is not the JSON it should be is shown as it is, harmless and short."""
    bearer = exchange("XOAUTH2", credentials=BEARER)
    bearer.command()
    assert bearer.respond(challenge) == b""
    assert bearer.told() == f" (it explains: {told})"


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_long_token_waits_for_the_challenge(mechanism: str) -> None:
    """A response that would make the command longer than 512 octets is sent when the server asks for it."""
    token = "t" * 3000
    credentials = Credentials(user="u", token=Secret(token))
    bearer = exchange(mechanism, credentials=credentials)
    assert bearer.command() == b"AUTH " + mechanism.encode()
    assert token in said(bearer.respond(""))
    assert bearer.respond(coded("{}")) is not None
    assert bearer.respond("") is None


def test_the_longest_command() -> None:
    """An AUTH command with its CRLF has at most 512 octets."""
    lengths = set()
    for size in range(300, 400):
        line = exchange("PLAIN", credentials=Credentials(user="u", password=Secret("p" * size))).command()
        assert line is not None
        lengths.add(len(line) + 2)
    assert len("AUTH PLAIN\r\n") in lengths
    assert 508 <= max(lengths) <= 512


def test_external() -> None:
    """EXTERNAL names the user to act as, or nobody with '=', the sign of an empty response."""
    user = Credentials(user="anna", mechanisms=("EXTERNAL",))
    assert words(exchange("EXTERNAL", credentials=user).command()) == ("EXTERNAL", "anna")
    nobody = exchange("EXTERNAL", "PLAIN", credentials=Credentials(user=""))
    assert nobody.command() == b"AUTH EXTERNAL ="
    assert nobody.respond("") == b""
    assert nobody.respond("") is None


def test_the_strongest_comes_first() -> None:
    """Of what the server offers: a proof before the password, CRAM-MD5 last; a token by the standard's mechanism."""
    offered, order = set(EVERYTHING), []
    while (line := exchange(*offered).command()) is not None:
        order.append(line.split(b" ")[1].decode())
        offered.remove(order[-1])
    assert order == ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]
    assert words(exchange(*EVERYTHING, credentials=BEARER).command())[0] == "OAUTHBEARER"
    assert set(KNOWN_MECHANISMS) == set(EVERYTHING) - {"GSSAPI"}


def test_what_fits() -> None:
    """A password is no token, a certificate neither, and ``mechanisms`` restricts without changing the order."""
    assert list(fitting(ANNA)) == ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]
    assert list(fitting(BEARER)) == ["OAUTHBEARER", "XOAUTH2"]
    assert list(fitting(Credentials(user="anna"))) == ["EXTERNAL"]
    named = Credentials(user="anna", password=Secret("x"), mechanisms=("LOGIN", "XOAUTH2", "PLAIN"))
    assert list(fitting(named)) == ["PLAIN", "LOGIN"]


@pytest.mark.parametrize(
    ("offered", "credentials", "words_of_it"),
    [
        ((), ANNA, "offers none; expected one of SCRAM-SHA-256, PLAIN, LOGIN, CRAM-MD5"),
        (("NTLM", "PLAIN-CLIENTTOKEN"), ANNA, "offers NTLM, PLAIN-CLIENTTOKEN; expected one of SCRAM-SHA-256"),
        (("PLAIN",), BEARER, "offers PLAIN; expected one of OAUTHBEARER, XOAUTH2"),
        (("PLAIN",), Credentials(user="a", mechanisms=("PLAIN",)), "expected one of none that fits these credentials"),
    ],
)
def test_no_common_mechanism(offered: tuple[str, ...], credentials: Credentials, words_of_it: str) -> None:
    """Without a mechanism that both know there is no command, and both lists are told."""
    nothing = exchange(*offered, credentials=credentials)
    assert nothing.command() is None
    assert words_of_it in nothing.why_not


def reply(text: str) -> Reply:
    """Return the reply that a line is."""
    return Reply(code=int(text[:3]), lines=(text[4:],))


@pytest.mark.parametrize(
    ("refusal", "next_one"),
    [
        ("535 5.7.8 no", None),
        ("535 5.7.9 no", None),
        ("534 5.7.9 too weak", "CRAM-MD5"),
        ("534 5.7.14 log in with a browser first", None),
        ("504 5.5.4 unrecognized authentication type", "LOGIN"),
        ("504 unsupported", "LOGIN"),
        ("530 5.7.0 no", None),
        ("538 5.7.11 needs encryption", None),
        ("550 5.7.30 basic authentication is not supported", None),
        ("454 4.7.0 later", None),
        ("500 5.7.9 what?", None),
    ],
)
def test_when_another_mechanism_is_tried(refusal: str, next_one: str | None) -> None:
    """Only where the mechanism was refused and no secret: a wrong password counts once, or the account is locked."""
    three = exchange("PLAIN", "LOGIN", "CRAM-MD5")
    assert words(three.command())[0] == "PLAIN"
    assert three.may_go_on(reply(refusal)) == (next_one is not None)
    if next_one is not None:
        assert words(three.command())[0] == next_one


def test_too_weak_without_a_stronger_one() -> None:
    """534 5.7.9 (Google's "application-specific password required") does not send the password by LOGIN, too."""
    two = exchange("PLAIN", "LOGIN")
    two.command()
    assert not two.may_go_on(reply("534 5.7.9 Application-specific password required"))


def test_every_mechanism_refused() -> None:
    """After the last one the refusal stands."""
    two = exchange("PLAIN", "LOGIN")
    for expected in ("PLAIN", "LOGIN"):
        assert words(two.command())[0] == expected
    assert not two.may_go_on(reply("504 no"))


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "CRAM-MD5", "EXTERNAL", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-256"])
@pytest.mark.parametrize("challenge", ["", "PDE+", "e30=", coded("r=x,s=y,i=4096")])
def test_an_endless_exchange_ends(name: str, challenge: str) -> None:
    """A server that asks and asks is given no more than three answers by any mechanism."""
    secret: dict[str, Any] = {"token": Secret("t")} if "OAUTH" in name else {"password": Secret("p")}
    credentials = Credentials(user="u", **({} if name == "EXTERNAL" else secret))
    endless = exchange(name, credentials=credentials)
    assert endless.command() is not None
    answers = 0
    try:
        while endless.respond(challenge) is not None:
            answers += 1
    except MechanismError:
        assert name in ("CRAM-MD5", "SCRAM-SHA-256")
    assert answers <= 3


def test_a_password_that_scram_can_not_take() -> None:
    """A password that SASLprep prohibits goes by the next mechanism; where there is none, that is told."""
    smile = Credentials(user="anna", password=Secret("smile \U0001f600"))
    assert words(exchange("SCRAM-SHA-256", "PLAIN", credentials=smile).command()) == (
        "PLAIN",
        "\0anna\0smile \U0001f600",
    )
    alone = exchange("SCRAM-SHA-256", credentials=smile)
    assert alone.command() is None
    assert "; SCRAM-SHA-256 can't be used: SASLprep refuses user or password" in alone.why_not
    assert "smile" not in alone.why_not
