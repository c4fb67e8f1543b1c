"""What the daemon signs, an independent implementation verifies: Perl's Mail::DKIM, and dkimpy's verifier beside it."""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

    Start = Callable[..., Daemon]
    Serve = Callable[..., ScriptedServer]
    Make = Callable[..., SpoolFolder]

_SCRIPT = Path(__file__).with_name("verify_dkim.pl")
_NAME = "mail2026._domainkey.example.com"
_EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


def _missing() -> str:
    perl = shutil.which("perl")
    if (
        perl
        and subprocess.run([perl, "-MMail::DKIM::Verifier", "-e1"], capture_output=True, check=False).returncode == 0
    ):
        return ""
    return "Mail::DKIM is missing: sudo apt-get install --no-install-recommends libmail-dkim-perl"


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing())


@dataclass(frozen=True, kw_only=True)
class Key:
    """A private key as a file, and its public half as the DNS has it."""

    path: Path
    record: str

    def opinions(self, messages: Sequence[bytes]) -> list[str]:
        """Return what Mail::DKIM says of each message."""
        framed = b"".join(struct.pack(">I", len(octets)) + octets for octets in messages)
        words = ["perl", str(_SCRIPT), _NAME, self.record]
        done = subprocess.run(words, input=framed, stdout=subprocess.PIPE, check=True, timeout=60)
        said = done.stdout.decode().splitlines()
        assert len(said) == len(messages)
        return said

    def second_opinion(self, octets: bytes) -> bool:
        """Return whether dkimpy verifies it."""
        return bool(dkim.verify(octets, dnsfunc=lambda *_, **__: self.record.encode()))


def _write(folder: Path, private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, record: str) -> Key:
    path = folder / "dkim.pem"
    pkcs8, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(private.private_bytes(serialization.Encoding.PEM, pkcs8, bare))
    path.chmod(0o600)
    return Key(path=path, record=record)


@pytest.fixture
def rsa_key(tmp_path: Path) -> Key:
    """Make an RSA key as the README does."""
    key = rsa.generate_private_key(65537, 2048)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public = base64.b64encode(key.public_key().public_bytes(serialization.Encoding.DER, spki)).decode()
    return _write(tmp_path, key, f"v=DKIM1; k=rsa; p={public}")


@pytest.fixture
def ed25519_key(tmp_path: Path) -> Key:
    """Make an Ed25519 key."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    return _write(tmp_path, key, f"v=DKIM1; k=ed25519; p={public}")


def job(lines: str = "", **files: bytes) -> dict[str, bytes]:
    """Describe a job; ``__`` in the name of a file is a dot, ``_DIR_`` a slash."""
    envelope = f'from = "Acme, Tools <me@example.com>"\n{lines}\n'
    if "to = " not in lines:
        envelope += 'to = "you@example.org"\n'
    named = {name.replace("_DIR_", "/").replace("__", "."): content for name, content in files.items()}
    return {"envelope.toml": envelope.encode(), **named}


def finished(octets: bytes) -> dict[str, bytes]:
    """Describe a finished message."""
    return {"message.eml": octets}


_MANY = ", ".join(f'"Müller, Hans {number} <hans.mueller.{number}@example.org>"' for number in range(80))
JOBS: Mapping[str, Mapping[str, bytes]] = {
    "attachments": job(
        body__txt=b"See below.\n",
        body__html=b'<p>See <img src="a.png"></p>',
        a__png=bytes(range(256)) * 4,
        attachments_DIR_big__bin=bytes(range(256)) * 2000,
        attachments_DIR_empty__txt=b"",
        attachments_DIR_blanks__txt=b"a  b \t\n\n \n" * 30,
    ),
    "long-subject": job(f'subject = "{"Rechnung über Grüße, 日本語 and  two blanks " * 12}"', body__txt=b"x\n"),
    "long-subject-without-blanks": job(f'subject = "{"x" * 900}"', body__txt=b"x\n"),
    "many-recipients": job(f"to = [{_MANY}]", body__txt=b"x\n"),
    "references": job(f"references = [{', '.join(f'{chr(34)}<{n}@x.example>{chr(34)}' for n in range(60))}]"),
    "empty-lines": job(body__txt=b"\n\n\nx\n\n\n\n"),
    "only-empty-lines": job(body__txt=b"\n\n\n\n"),
    "lines-of-blanks": job(body__txt=b"   \n\t\nx  y\t\tz   \n  \n \t \n"),
    "empty-body": job(),
    "no-last-line-end": job(body__txt=b"x\ny"),
    "dots": job(body__txt=b".\n..\n.x\n"),
    "beyond-ascii": job(body__txt="Grüße 日本語\n".encode() * 50),
    "list": job(
        'headers = {List-Unsubscribe = "<https://example.com/u>", List-Id = "<a.example.com>"}', body__txt=b"x"
    ),
    "eml": finished(
        b"Received: from a by b;\r\n\tMon, 23 Nov 2026 08:00:00 +0000\r\nsubject:  a \t b\r\n\tc  \r\n"
        b"FROM:\t<me@example.com> (comment)\r\nTo: a@example.org,\r\n b@example.org\r\nX-Empty:\r\nCC: c@x.example\r\n"
        b"\r\n\r\nx  y \r\n \r\n\r\n"
    ),
    "eml-of-lf-lines": finished(b"From: me@news.example.com\nTo: a@example.org\nSubject: x\n\nx\ny"),
    "eml-without-body": finished(b"From: me@example.com\r\nTo: a@example.org\r\n"),
    "eml-of-8-bits": finished(b"From: me@example.com\nTo: a@example.org\nSubject: x\n\ncaf\xe9 \xff\n"),
    "eml-of-utf-8": finished("From: Jürgen <jürgen@example.com>\nTo: a@example.org\nSubject: Grüße\n\nx\n".encode()),
}


def sent(spool: SpoolFolder, server: ScriptedServer) -> dict[str, bytes]:
    """Drop every job; return what the relay got, by job."""
    for name, files in JOBS.items():
        spool.drop(name, files)
    spool.wait_settled(JOBS)
    by_id = {}
    for mail in server.accepted:
        octets = mail.octets.replace(b"\n", b"\r\n")  # the server keeps them in another form
        by_id[octets.partition(b"\r\nMessage-ID: ")[2].partition(b"\r\n")[0].decode()] = octets
    return {name: by_id[spool.result(name)["message_id"]] for name in JOBS}


def run(key: Key, spool_factory: Make, daemon: Start, scripted_server: Serve) -> dict[str, bytes]:
    """Let the daemon sign and send every job."""
    server = scripted_server(extensions=_EXTENSIONS)
    table = {"selector": "mail2026", "domains": "example.com", "key_file": str(key.path)}
    spool = spool_factory(server.port, dkim=table)
    daemon(spool).wait_started()
    return sent(spool, server)


def test_rsa(rsa_key: Key, spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """Every kind of message that the daemon sends verifies; changed on its way, none does."""
    messages = run(rsa_key, spool_factory, daemon, scripted_server)
    opinions = rsa_key.opinions(list(messages.values()))
    assert dict(zip(messages, opinions, strict=True)) == dict.fromkeys(JOBS, "pass pass")
    assert [name for name, octets in messages.items() if not rsa_key.second_opinion(octets)] == []
    for octets in messages.values():
        head, _, body = octets.partition(b"\r\n\r\n")
        assert max(map(len, head.partition(b"\r\nDate: ")[0].split(b"\r\n"))) <= 998
        changed = [
            head + b"\r\n\r\n" + body + b"x\r\n",
            head + b"\r\n\r\nx\r\n" + body,
            b"From: other@example.org\r\n" + octets,
            head + b"\r\nFrom: other@example.org\r\n\r\n" + body,
            head + b"\r\nfrom : other@example.org\r\n\r\n" + body,
            octets.replace(b"@example.com>", b"@example.net>"),
        ]
        if b"\r\nFrom: me@" in octets:
            changed[-1] = octets.replace(b"\r\nFrom: me@", b"\r\nFrom: mf@")
        assert [said for said in rsa_key.opinions(changed) if not said.startswith("fail ")] == [], octets[:2000]


def test_each_octet_counts(rsa_key: Key, spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """A flipped bit anywhere in From, To, Subject, the signature's own tags or the text breaks the signature."""
    octets = run(rsa_key, spool_factory, daemon, scripted_server)["eml-of-lf-lines"]
    start = octets.index(b"\r\nFrom: ") + len(b"\r\nFrom: ")
    end = octets.index(b"\r\nDate: ")
    places = [*range(start, end), *range(octets.index(b"\r\n\r\n") + 4, len(octets)), octets.index(b" bh=") + 9,
              octets.index(b"\r\n b=") + 9]  # fmt: skip
    places = [at for at in places if octets[at : at + 1].isalnum()]
    assert len(places) > 20
    changed = [octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :] for at in places]
    assert [said for said in rsa_key.opinions(changed) if said.startswith("pass")] == []


def test_ed25519(ed25519_key: Key, spool_factory: Make, daemon: Start, scripted_server: Serve) -> None:
    """The same with Ed25519: by dkimpy, and by Mail::DKIM as far as the installed one knows it."""
    messages = run(ed25519_key, spool_factory, daemon, scripted_server)
    assert all(b"a=ed25519-sha256;" in octets for octets in messages.values())
    assert [name for name, octets in messages.items() if not ed25519_key.second_opinion(octets)] == []
    assert not ed25519_key.second_opinion(messages["dots"] + b"x\r\n")
    known = subprocess.run(["perl", _SCRIPT], capture_output=True, check=True, text=True).stdout.strip()
    opinions = set(ed25519_key.opinions(list(messages.values())))
    assert opinions == (
        {"pass pass"} if known == "ed25519" else {"invalid invalid (unsupported algorithm ed25519-sha256)"}
    )
