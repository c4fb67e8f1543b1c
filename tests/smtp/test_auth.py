"""`maildrop.smtp.auth`: what is said to a server, and what is never shown to anybody."""

from __future__ import annotations

import copy
import pickle
from base64 import b64encode

import pytest

from maildrop.smtp import Credentials, Reply, Secret
from maildrop.smtp.auth import Redactor, choose

ANNA = Credentials(user="anna", password=Secret("pa\u00dfwort 123"))


def test_plain() -> None:
    """PLAIN says everything at once in UTF-8, and once more to a server that asks again, but no third time."""
    mechanism = choose(("LOGIN", "PLAIN"), ANNA)
    assert mechanism is not None
    assert mechanism.name == "PLAIN"
    assert mechanism.initial() == "\0anna\0pa\u00dfwort 123".encode()
    assert mechanism.respond("") == mechanism.initial()
    assert mechanism.respond("") is None


def test_login() -> None:
    """LOGIN waits to be asked, answers user and password in that order, and then has no more to say."""
    mechanism = choose(("GSSAPI", "LOGIN"), ANNA)
    assert mechanism is not None
    assert mechanism.initial() is None
    assert mechanism.respond("VXNlcm5hbWU6") == b"anna"
    assert mechanism.respond("%%%") == "pa\u00dfwort 123".encode()
    assert mechanism.respond("") is None


def test_no_common_mechanism() -> None:
    """Without a mechanism that both know there is nothing to choose."""
    assert choose((), ANNA) is None
    assert choose(("NTLM", "PLAIN-CLIENTTOKEN"), ANNA) is None


def test_a_secret_is_not_shown() -> None:
    """A secret shows itself as *** however it is printed, and can't leave the process by pickling."""
    secret = ANNA.password
    assert f"{secret} {secret!r} {secret!s} {ANNA} {[secret]} %s" % secret == "*** *** *** " + repr(ANNA) + " [***] ***"
    assert "wort" not in repr(ANNA)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(ANNA)


def test_secrets_compare() -> None:
    """Two secrets are equal if their texts are, so that a reload can tell whether one changed."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize(
    "form",
    [
        "pa\u00dfwort 123",
        "\0anna\0pa\u00dfwort 123",
        b64encode("\0anna\0pa\u00dfwort 123".encode()).decode(),
        b64encode("pa\u00dfwort 123".encode()).decode(),
    ],
)
def test_an_echo_is_masked(form: str, thorough: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A reply that repeats the secret in any coding that was on the wire is kept without it."""
    reply = Reply(code=535, lines=("5.7.8 no", f"you said <{form}>, twice: {form}"))
    clean = Redactor(ANNA).clean(reply, thorough=thorough)
    assert form not in clean.text
    assert clean.lines == ("5.7.8 no", "you said <***>, twice: ***")


def test_a_shard_is_masked() -> None:
    """A cut-off echo of the AUTH line is masked too."""
    form = b64encode("\0anna\0pa\u00dfwort 123".encode()).decode()
    assert (
        Redactor(ANNA).hide(f"AUTH PLAIN {form[:11]} was cut, '{form[4:-3]}' too") == "AUTH PLAIN *** was cut, *** too"
    )


def test_ordinary_words_stay() -> None:
    """What has nothing to do with the secret is left as it is, also without any credentials."""
    reply = Reply(code=535, lines=("5.7.8 authentication failed for anna",))
    assert Redactor(ANNA).clean(reply, thorough=True) is reply
    assert Redactor(None).clean(reply, thorough=True) is reply
    assert Redactor(Credentials(user="x", password=Secret(""))).hide("nothing to hide") == "nothing to hide"
