"""`maildrop.smtp.scram`: the password is proved, the server proves itself, and neither is made to work for ever."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64decode, b64encode

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from maildrop.smtp.mechanism import MechanismError
from maildrop.smtp.scram import MAX_ITERATIONS, Scram

# The exchange of RFC 7677 section 3.
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def coded(text: str) -> str:
    """Return a challenge as it travels."""
    return b64encode(text.encode()).decode()


def pencil() -> Scram:
    """Begin the exchange of the RFC."""
    return Scram("user", "pencil", nonce=NONCE)


def test_the_exchange_of_the_rfc() -> None:
    """The three messages of RFC 7677 are said as printed there; then the server has proved itself."""
    scram = pencil()
    assert scram.initial() == f"n,,n=user,r={NONCE}".encode()
    assert scram.respond(coded(SERVER_FIRST)) == CLIENT_FINAL.encode()
    assert scram.respond(coded(SERVER_FINAL)) == b""
    scram.succeed("2.7.0 ok")
    assert scram.respond("") is None
    assert scram.told() == ""


def test_the_proof_may_come_with_the_235() -> None:
    """A server may put its proof into the text of the final reply."""
    scram = pencil()
    scram.respond(coded(SERVER_FIRST))
    scram.succeed(f"2.7.0 {coded(SERVER_FINAL)}")


def test_the_first_message_waits_for_an_empty_challenge() -> None:
    """A server that has not read the initial response asks for it, once."""
    scram = pencil()
    assert scram.respond("") == scram.initial()
    with pytest.raises(MechanismError):
        scram.respond("")


@pytest.mark.parametrize(
    "text", ["2.7.0 ok", "", f"2.7.0 {coded('v=' + 'A' * 43 + '=')}", f"2.7.0 {coded('hello ' * 5)}"]
)
def test_a_server_without_proof(text: str) -> None:
    """Yes is not enough: whoever takes the mails has to know the password."""
    scram = pencil()
    scram.respond(coded(SERVER_FIRST))
    with pytest.raises(MechanismError, match="not prove that it knows the password"):
        scram.succeed(text)


def test_yes_to_the_first_message() -> None:
    """A server that says yes before it saw our proof has proved nothing itself, whatever stands in its text."""
    scram = pencil()
    scram.initial()
    with pytest.raises(MechanismError, match="not prove that it knows the password"):
        scram.succeed(coded(SERVER_FINAL))


@pytest.mark.parametrize(
    "last",
    [
        "v=" + b64encode(b"\0" * 32).decode(),
        "v=6rriTRBi23WpRR",
        "v=",
        "",
        "e=invalid-proof",
        "e=no-such-error",
        "m=x,v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        "x",
        "v=\u00fc",
    ],
)
def test_a_wrong_signature(last: str) -> None:
    """The server's last message has to be the signature for this exchange."""
    scram = pencil()
    scram.respond(coded(SERVER_FIRST))
    with pytest.raises(MechanismError, match="does not prove that it knows the password"):
        scram.respond(coded(last))


S16 = "s=W22ZaJ0SNY7soEsUEjb6gQ=="


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (f"r=other,{S16},i=4096", "nonce"),
        (f"r={NONCE},{S16},i=4096", "nonce"),
        (f"r={NONCE[:-1]}x,{S16},i=4096", "nonce"),
        (f"r={NONCE}x,{S16},i=4095", "4096"),
        (f"r={NONCE}x,{S16},i=1", "4096"),
        (f"r={NONCE}x,{S16},i=0", ""),
        (f"r={NONCE}x,{S16},i=-4096", ""),
        (f"r={NONCE}x,{S16},i=" + "9" * 6000, ""),
        (f"r={NONCE}x,{S16},i={MAX_ITERATIONS + 1}", f"at most {MAX_ITERATIONS}"),
        (f"r={NONCE}x,{S16},i=10000000", f"at most {MAX_ITERATIONS}"),
        (f"r={NONCE}x,s=AAAA,i=4096", "salt"),
        (f"r={NONCE}x,s=%%%,i=4096", ""),
        (f"m=must,r={NONCE}x,{S16},i=4096", ""),
        ("e=other-error", ""),
        ("r=,s=,i=", ""),
        ("", ""),
        (",,,", ""),
    ],
)
def test_a_hostile_first_message(first: str, why: str) -> None:
    """Nonces that are not ours extended, counts out of bounds and broken messages end the exchange in words."""
    scram = pencil()
    scram.initial()
    with pytest.raises(MechanismError) as error:
        scram.respond(coded(first or "x"))
    assert why in str(error.value)


def test_the_most_iterations_are_done() -> None:
    """The highest count that is taken is below what keeps this process busy for a second."""
    assert pencil().respond(coded(f"r={NONCE}x,{S16},i={MAX_ITERATIONS}"))


@pytest.mark.parametrize("challenge", ["%%%", "/w==", "\u00fc"])
def test_a_challenge_that_can_not_be_read(challenge: str) -> None:
    """What is not base64 of UTF-8 is not guessed at."""
    with pytest.raises(MechanismError, match=r"is not (base64|UTF-8)"):
        pencil().respond(challenge)


@given(
    st.one_of(st.text(), st.lists(st.sampled_from([f"r={NONCE}x", S16, "i=4096", "i=x", "r=", "=", "", "v=", "e=a"])))
)
def test_any_message_ends_in_words(message: str | list[str]) -> None:
    """Whatever a server says is answered or refused, never met with another exception, in both rounds."""
    text = message if isinstance(message, str) else ",".join(message)
    for rounds in (0, 1):
        scram = pencil()
        for _ in range(rounds):
            scram.respond(coded(SERVER_FIRST))
        try:
            scram.respond(coded(text))
        except MechanismError:
            continue


@pytest.mark.parametrize("password", ["\u2168\u00ad", "I\u00adX", "\uff29\uff38"])
def test_passwords_are_prepared(password: str) -> None:
    """SASLprep makes one password of what looks alike: a Roman numeral nine with a soft hyphen is IX (RFC 4013)."""
    stored = scramp.ScramMechanism("SCRAM-SHA-256").make_auth_info("IX")
    server = scramp.ScramMechanism("SCRAM-SHA-256").make_server(lambda _user: stored)
    scram = Scram("us,er=", password)
    first = scram.initial()
    assert first is not None
    server.set_client_first(first.decode())
    final = scram.respond(coded(server.get_server_first()))
    assert final is not None
    server.set_client_final(final.decode())
    assert scram.respond(coded(server.get_server_final())) == b""


@pytest.mark.parametrize(
    ("user", "password"), [("u", "smile \U0001f600"), ("u", "tab\t"), ("u", "\u0627a"), ("\u0007", "pencil")]
)
def test_what_saslprep_refuses(user: str, password: str) -> None:
    """Characters that SASLprep prohibits can't be used here; no part of the password is in the words about it."""
    with pytest.raises(MechanismError, match="SASLprep refuses") as error:
        Scram(user, password)
    assert password not in str(error.value)


def test_it_is_imported_only_when_needed() -> None:
    """The machine can be used without the library's start-up time."""
    code = "import maildrop.smtp, sys; print('scramp' in sys.modules, 'httpx' in sys.modules, 'authlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


def test_the_nonce_is_fresh() -> None:
    """Two exchanges don't share their nonce."""
    nonces = {b64decode(b64encode(Scram("u", "p").initial() or b"")).rpartition(b"r=")[2] for _ in range(50)}
    assert len(nonces) == 50
