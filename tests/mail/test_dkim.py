"""The signature in front of a message; dkimpy's own verifier and cryptography's keys are the second opinions."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from dkim.canonicalization import Relaxed
from hypothesis import given
from hypothesis import strategies as st

from maildrop.mail import dkim as signing
from maildrop.mail.dkim import Signer, SigningKeyError
from maildrop.mail.message import Message
from maildrop.mail.part import Octets

Composed = Callable[..., tuple[Message, bytes]]
PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

DATE = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
TEXT = b"From: Me <me@example.com>\r\nTo: you@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"
ENVELOPE = 'from = "Me <me@example.com>"\nto = "you@example.org"\n'


PKCS1, PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8


def pem(key: PrivateKey, *, form: serialization.PrivateFormat = PKCS8, password: bytes | None = None) -> str:
    """Write a private key as openssl does."""
    cipher = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, cipher).decode()


def record(key: PrivateKey) -> bytes:
    """Write the DNS record of the key."""
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(public.public_bytes_raw())
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public.public_bytes(serialization.Encoding.DER, spki))


def message(octets: bytes, *pieces: bytes) -> Message:
    """Make a message of octets."""
    bodies = (Octets(octets), *(Octets(piece) for piece in pieces))
    return Message(message_id="<1@here>", size=sum(body.size for body in bodies), needs=frozenset(), bodies=bodies)


def octets_of(signed: Message) -> bytes:
    """Return what goes out; its size is what was announced."""
    octets = b"".join(signed.chunks())
    assert len(octets) == signed.size
    return octets


def verifies(octets: bytes, key: PrivateKey) -> bool:
    """Ask dkimpy's verifier, with the key's record as the only one there is."""
    asked: list[bytes] = []

    def look_up(name: bytes, timeout: int = 5) -> bytes:  # noqa: ARG001  # as dkimpy calls it
        asked.append(name)
        return record(key)

    valid = bool(dkim.verify(octets, dnsfunc=look_up))
    assert set(asked) <= {b"mail._domainkey.example.com."}
    return valid


RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
KEYS = pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])


def signer(key: PrivateKey = ED25519, *domains: str) -> Signer:
    """Make a signer for example.com, or for these domains."""
    return Signer(selector="mail", domains=frozenset(domains or ["example.com"]), key=pem(key))


def signed(octets: bytes, key: PrivateKey = ED25519) -> bytes:
    """Sign a message of octets."""
    return octets_of(signer(key).signed(message(octets), date=DATE))


def tags(octets: bytes) -> dict[str, str]:
    """Read the tags of the first signature, without their blanks."""
    field = re.match(rb"DKIM-Signature:((?:[^\r\n]|\r\n[ \t])*)\r\n", octets)
    assert field is not None, octets[:200]
    found = [tag.partition("=") for tag in re.sub(r"\s", "", field[1].decode("ascii")).split(";")]
    return {name: value for name, _, value in found}


@KEYS
@pytest.mark.parametrize(
    "body",
    [
        b"", b"\r\n", b"\r\n\r\n\r\n", b" \t\r\n", b"a", b"a\r\n", b"a \r\n\r\n \r\n\t\r\n", b"\r\n\r\na\r\n",
        b"a  b\t\tc \t d \r\n", b"a\r\nb", b"\xff\xfe caf\xe9\r\n", b".\r\n..\r\n", b"a\r\n" * 70_000,
    ],
)  # fmt: skip
def test_it_verifies(body: bytes, key: PrivateKey) -> None:
    """Bodies of every shape verify, and the message behind the signature is as it was."""
    before = b"From: me@example.com\r\nSubject: x\r\n\r\n" + body
    after = signed(before, key)
    assert verifies(after, key)
    assert after.endswith(b"\r\n" + before)


@KEYS
def test_what_is_changed_does_not_verify(key: PrivateKey) -> None:
    """Another octet of body, author, To or Subject, or a second From break the signature; a Received does not."""
    after = signed(TEXT, key)
    for old, new in (
        (b"Hello.", b"Hellp."),
        (b"Me <me@", b"Me <mi@"),
        (b"From:", b"From: other@example.com\r\nFrom:"),
        (b"To: you@", b"To: yov@"),
        (b"Subject: Hello", b"Subject: Hullo"),
    ):
        assert not verifies(after.replace(old, new, 1), key), new
    assert not verifies(b"From: other@example.com\r\n" + after, key)
    assert verifies(b"Received: from here by there; now\r\n" + after, key)


def test_what_relaxed_forgives() -> None:
    """Another folding, more blanks, empty lines at the end and small letters in names do not break it."""
    after = signed(TEXT)
    for old, new in ((b"Subject: Hello", b"SUBJECT:\r\n   Hello  "), (b"Hello.\r\n", b"Hello.  \r\n\r\n\r\n")):
        assert verifies(after.replace(old, new), ED25519)


def test_the_tags() -> None:
    """Author's domain, selector, the time it was given, relaxed; From is signed once more than it is there."""
    header = b"Received: x\r\nTo: b@x\r\nCC: a@x\r\nFrom: me@example.com\r\nTo: c@x\r\nX-Own: 1\r\nList-Id: <l>\r\n\r\n"
    found = tags(signed(header))
    assert found.pop("h") == "from:from:to:to:cc:list-id"
    assert base64.b64decode(found.pop("bh")) == hashlib.sha256(b"").digest()
    assert len(base64.b64decode(found.pop("b"))) == 64
    assert found == {
        "v": "1", "a": "ed25519-sha256", "c": "relaxed/relaxed", "d": "example.com", "s": "mail", "t": "1706933106",
    }  # fmt: skip
    assert tags(signed(header, RSA))["a"] == "rsa-sha256"


def test_lines_are_short() -> None:
    """No line is longer than 78, however many fields are signed and however long the key is."""
    names = [*signing._SIGNED, *["To"] * 300]
    header = b"".join(name.encode() + b": me@example.com\r\n" for name in names)
    key = rsa.generate_private_key(65537, 3072)
    after = signed(header + b"\r\n", key)
    own = after.partition(b"\r\nfrom: ")[0].split(b"\r\n")
    assert max(map(len, own)) <= 78
    assert all(line.startswith(b" ") and line.strip() for line in own[1:])
    assert verifies(after, key)


def test_long_names_stay_whole() -> None:
    """A domain and a selector that fit on no line are not folded, which would make others of them."""
    domain, selector = ".".join(["d" * 60] * 3 + ["example"]), ".".join(["s" * 60] * 2)
    one = Signer(selector=selector, domains=frozenset([domain]), key=pem(ED25519))
    after = octets_of(one.signed(message(f"From: a@{domain}\r\n\r\nx\r\n".encode()), date=DATE))
    assert f"d={domain};".encode() in after
    assert f"s={selector};".encode() in after
    assert dkim.verify(after, dnsfunc=lambda *_, **__: record(ED25519))


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        ("me@example.com", "example.com"),
        ("me@EXAMPLE.com", "example.com"),
        ("Me <me@sub.example.com>", "example.com"),
        ("Me <me@a.news.example.com>", "news.example.com"),
        ("me@xn--fa-hia.example", "xn--fa-hia.example"),
        ("me@faß.example", "xn--fa-hia.example"),
        ('"a, b@other.org" <me@example.com>', "example.com"),
        ("a@example.com, b@example.org", "example.com"),
        ("b@example.org, a@example.com", ""),
        ("me@example.org", ""),
        ("me@notexample.com", ""),
        ("me@com", ""),
        ("me@[192.0.2.1]", ""),
        ("no address", ""),
        ("", ""),
    ],
)
def test_whom_it_signs_for(author: str, expected: str) -> None:
    """The author's domain or the longest one above it that is listed; any other author is left alone."""
    one = signer(ED25519, "example.com", "news.example.com", "xn--fa-hia.example")
    before = message(f"Subject: x\r\nFrom: {author}\r\n\r\nx\r\n".encode())
    after = one.signed(before, date=DATE)
    if expected:
        assert tags(octets_of(after))["d"] == expected
    else:
        assert after is before


def test_a_signed_message_is_not_signed_again() -> None:
    """A finished message that brings a signature goes as it is."""
    before = message(signed(TEXT))
    assert signer().signed(before, date=DATE) is before


@KEYS
def test_the_same_octets_each_time(key: PrivateKey) -> None:
    """The same message, date and key give the same signature: a retry is the same mail."""
    assert signed(TEXT, key) == signed(TEXT, key)


def test_utf8_in_the_header() -> None:
    """Fields with UTF-8 (RFC 6532) are signed as they are."""
    after = signed("From: Jürgen <jürgen@example.com>\r\nSubject: Grüße\r\n\r\nx\r\n".encode())
    assert verifies(after, ED25519)
    assert not verifies(after.replace("Grüße".encode(), "Grübe".encode()), ED25519)


def test_composed_messages(composed: Composed) -> None:
    """A job with a long subject, many recipients and attachments verifies; the message itself is unchanged."""
    to = ", ".join(f'"Name Nr. {number}, Dr. <n{number}@example.org>"' for number in range(60))
    envelope = f'from = "Zoë Müller <me@example.com>"\nto = [{to}]\nsubject = "{"Grüße und vieles mehr " * 20}"\n'
    files = {"body.txt": b"Text \n\n\n", "body.html": b"<p>x</p>", "attachments/a.bin": bytes(range(256)) * 700}
    plain, octets = composed(envelope, files)
    for key in (RSA, ED25519):
        after = octets_of(signer(key).signed(plain, date=DATE))
        assert verifies(after, key)
        assert after.endswith(b"\r\n" + octets)
        assert {"mime-version", "content-type", "message-id", "date"} <= set(tags(after)["h"].split(":"))


pieces = st.lists(
    st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r\n\r\n", b"a", b"b c", b"\r", b"\n", b"."])).map(b"".join)
)


@given(pieces)
def test_the_body_hash_is_that_of_the_whole(chunks: list[bytes]) -> None:
    """However the body is cut into chunks, its hash is that of dkimpy's relaxed form of what goes over the wire."""
    whole = b"".join(chunks)
    if whole and not whole.endswith(b"\r\n"):
        whole += b"\r\n"  # as it does before the final dot
    assert signing._body_hash(iter(chunks)) == hashlib.sha256(Relaxed.canonicalize_body(whole)).digest()


def test_many_empty_lines() -> None:
    """Empty lines are counted over chunks, and hashed only if something follows."""
    lines = [b"\r\n" * 5000, b" \r\n" * 5000]
    for end in ([], [b"x"]):
        chunks = [b"a\r\n", *lines * 3, *end]
        assert signing._body_hash(chunks) == hashlib.sha256(Relaxed.canonicalize_body(b"".join(chunks))).digest()


def test_a_header_that_comes_in_pieces() -> None:
    """The header section may end anywhere in a chunk, and what lies behind it is the body's."""
    header, _, body = TEXT.partition(b"\r\n\r\n")
    for at in range(len(TEXT)):
        chunks = iter([TEXT[:at], TEXT[at:]])
        found, start = signing._header_section(chunks)
        assert found == header + b"\r\n"
        assert start + b"".join(chunks) == body


@pytest.mark.parametrize("form", [PKCS1, PKCS8], ids=["pkcs1", "pkcs8"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_forms_of_an_rsa_key(form: serialization.PrivateFormat, end: str) -> None:
    """PKCS#1 and PKCS#8, with any line ends, and with the remarks that openssl writes around it."""
    text = "Private-Key: (2048 bit)\n\n" + pem(RSA, form=form).replace("\n", end) + end
    one = Signer(selector="mail", domains=frozenset(["example.com"]), key=text)
    assert one.signed(message(TEXT), date=DATE) == signer(RSA).signed(message(TEXT), date=DATE)


def test_forms_of_an_ed25519_key() -> None:
    """PKCS#8 in PEM, or the bare seed in base64, which dkimpy's own tools write."""
    bare = base64.b64encode(ED25519.private_bytes_raw()).decode() + "\n"
    one = Signer(selector="mail", domains=frozenset(["example.com"]), key=bare)
    assert one.signed(message(TEXT), date=DATE) == signer().signed(message(TEXT), date=DATE)


def _damaged() -> str:
    """Return a key whose last number is another."""
    der = RSA.private_bytes(serialization.Encoding.DER, PKCS1, serialization.NoEncryption())
    body = base64.b64encode(der[:-1] + bytes([der[-1] ^ 1])).decode()
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "holds no private key"),
        ("hunter2", "holds no private key"),
        (base64.b64encode(b"x" * 31).decode(), "holds no private key"),
        (pem(RSA).replace("-----BEGIN PRIVATE KEY-----\n", ""), "holds no private key"),
        (pem(RSA)[:300], "holds no private key"),
        (pem(RSA)[:300] + "\n-----END PRIVATE KEY-----", "holds no private key"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "holds no private key"),
        (pem(ED25519).replace("MC4CAQAw", "MC4CAQAx"), "holds no private key"),
        (re.sub("\n.{60}", "\n", pem(ED25519)), "holds no private key"),
        ("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----", "holds no private key"),
        (pem(RSA, password=b"secret"), "has a passphrase"),
        (pem(RSA, form=PKCS1, password=b"secret"), "has a passphrase"),
        (_damaged(), "is damaged"),
    ],
)
def test_keys_that_can_not_sign(key: str, words: str) -> None:
    """A key that is none, is locked or broken is refused at once, with a way out and without showing the key."""
    with pytest.raises(SigningKeyError, match=words) as error:
        Signer(selector="mail", domains=frozenset(["example.com"]), key=key)
    assert error.value.hint
    assert not [line for line in key.split() if len(line) > 5 and line in f"{error.value} {error.value.hint}"]


def test_a_short_key_is_refused() -> None:
    """Receivers take a signature by less than 1024 bits as none (RFC 8301)."""
    short = (Path(__file__).resolve().parents[1] / "bad_configs" / "dkim-short-key" / "short.pem").read_text()
    with pytest.raises(SigningKeyError, match="has 512 bits"):
        Signer(selector="mail", domains=frozenset(["example.com"]), key=short)


@KEYS
def test_the_key_never_shows_itself(key: PrivateKey) -> None:
    """The signer's repr has neither the key nor anything made from it."""
    shown = repr(signer(key))
    assert "mail" in shown
    assert "PRIVATE" not in shown
    assert not [line for line in pem(key).splitlines()[1:-1] if line[:20] in shown]


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to be installed is said, for Ed25519 too, whose package is one of its own."""
    monkeypatch.setitem(sys.modules, "nacl.signing", None)
    with pytest.raises(SigningKeyError, match="pynacl") as error:
        signer(ED25519)
    assert error.value.hint == "pip install 'maildrop[dkim]'"
    monkeypatch.setattr(signing, "find_spec", lambda _name: None)
    with pytest.raises(SigningKeyError, match="dkimpy") as error:
        signer(RSA)
    assert error.value.hint == "pip install 'maildrop[dkim]'"


_MEASURE = """
import resource, sys
from datetime import UTC, datetime
from maildrop.mail.dkim import Signer
from maildrop.mail.message import Message
from maildrop.mail.part import Octets, Base64File

class Zeros:
    name = "zeros"
    def __init__(self, size):
        self.size = size
    def chunks(self, slice_octets):
        for start in range(0, self.size, slice_octets):
            yield bytes(min(slice_octets, self.size - start))

def signed(octets):
    bodies = (Octets(b"From: me@example.com\\r\\n\\r\\n"), Base64File(source=Zeros(octets)))
    message = Message(message_id="", size=sum(b.size for b in bodies), needs=frozenset(), bodies=bodies)
    assert signer.signed(message, date=datetime.now(UTC)).signature

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

signer = Signer(selector="mail", domains=frozenset(["example.com"]), key=sys.argv[1])
signed(1000)
before = peak()
signed(int(sys.argv[2]))
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_message() -> None:
    """Signing an attachment of 30 MB takes at most 8 MiB more than signing one of 1 kB."""
    words = [sys.executable, "-c", _MEASURE, pem(ED25519), "30000000"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) <= 8 * 1024  # KiB
