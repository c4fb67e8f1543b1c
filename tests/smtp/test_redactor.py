"""`maildrop.smtp.redactor` and secrets: what is never shown to anybody."""

from __future__ import annotations

import copy
import pickle
from base64 import b64encode

import pytest

from maildrop.smtp import Credentials, Reply, Secret
from maildrop.smtp.redactor import Redactor

ANNA = Credentials(user="anna", password=Secret("pa\u00dfwort 123"))
TOKEN = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL291dGxvb2sub2ZmaWNlMzY1LmNvbSJ9.c2lnbmF0dXJl"
BEARER = Credentials(user="app1@example.com", token=Secret(TOKEN), host="smtp.example.com", port=587)


def coded(text: str) -> str:
    """Return text as it travels."""
    return b64encode(text.encode()).decode()


def test_a_secret_is_not_shown() -> None:
    """A secret shows itself as *** however it is printed, and can't leave the process by pickling."""
    secret = ANNA.password
    assert f"{secret} {secret!r} {secret!s} {ANNA} {[secret]} %s" % secret == "*** *** *** " + repr(ANNA) + " [***] ***"
    assert "wort" not in repr(ANNA)
    assert TOKEN not in repr(BEARER)
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


BY_PASSWORD = ["pa\u00dfwort 123", "\0anna\0pa\u00dfwort 123", "anna\0pa\u00dfwort 123"]
BY_TOKEN = [
    TOKEN,
    f"Bearer {TOKEN}",
    f"user=app1@example.com\1auth=Bearer {TOKEN}\1\1",
    f"n,a=app1@example.com,\1host=smtp.example.com\1port=587\1auth=Bearer {TOKEN}\1\1",
]
FORMS = [(ANNA, form) for plain in BY_PASSWORD for form in (plain, coded(plain))]
FORMS += [(BEARER, form) for plain in BY_TOKEN for form in (plain, coded(plain))]


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize(("credentials", "form"), FORMS)
def test_an_echo_is_masked(credentials: Credentials, form: str, thorough: bool) -> None:  # noqa: FBT001
    """A reply that repeats the secret in any coding that was on the wire is kept without it."""
    reply = Reply(code=535, lines=("5.7.8 no", f"you said <{form}>, twice: {form}"))
    clean = Redactor(credentials).clean(reply, thorough=thorough)
    assert clean.lines == ("5.7.8 no", "you said <***>, twice: ***")


@pytest.mark.parametrize(
    ("credentials", "form"), [(who, form) for who, form in FORMS if " " not in form and "\0" not in form]
)
def test_a_shard_is_masked(credentials: Credentials, form: str) -> None:
    """A cut-off echo of the AUTH line is masked too."""
    shown = Redactor(credentials).hide(f"AUTH X {form[:11]} was cut, '{form[4:-3]}' too")
    assert shown == "AUTH X *** was cut, *** too"


def test_ordinary_words_stay() -> None:
    """What has nothing to do with the secret is left as it is: the user's name, too, and all without credentials."""
    reply = Reply(code=535, lines=("5.7.8 authentication failed for app1@example.com at smtp.example.com",))
    assert Redactor(BEARER).clean(reply, thorough=True) is reply
    assert Redactor(None).clean(reply, thorough=True) is reply
    assert Redactor(Credentials(user="x", password=Secret(""))).hide("nothing to hide") == "nothing to hide"
    password = Credentials(user="app1@example.com", password=Secret("hunter2hunter2"))
    assert Redactor(password).clean(reply, thorough=True) is reply


def test_what_was_derived_is_masked() -> None:
    """A digest or proof that was said is hidden in every form; the name that was said with it is not."""
    digest = "b913a602c7eda7a495b4e6e7334d3890"
    redactor = Redactor(BEARER)
    redactor.learn(f"app1@example.com {digest}".encode())
    for form in (digest, coded(f"app1@example.com {digest}"), f"app1@example.com {digest}", digest[:20]):
        assert redactor.hide(f"<{form}>").strip("<>") == "***"
    assert redactor.hide("app1@example.com is unknown") == "app1@example.com is unknown"
    proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    redactor.learn(f"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj,p={proof}".encode())
    assert (
        redactor.hide(f"proof {proof} and nonce rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj")
        == "proof *** and nonce ***"
    )


def test_a_private_challenge_is_veiled() -> None:
    """Challenges that help to guess the password are shown as ***, other replies as they are."""
    redactor = Redactor(ANNA)
    challenge, done = Reply(code=334, lines=("PDE4OTY+",)), Reply(code=235, lines=("ok",))
    assert redactor.veil(challenge) is challenge
    redactor.private = True
    assert redactor.veil(challenge).lines == ("***",)
    assert redactor.veil(done) is done
    assert redactor.veil(Reply(code=334, lines=("",))).lines == ("",)
