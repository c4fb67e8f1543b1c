"""``render`` and ``lint`` where mail is signed."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import dkim
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "jobs"
TABLE = '[dkim]\nselector = "mail"\ndomains = "example.com"\nkey_file = "{}"\n'


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Write a key."""
    path = tmp_path / "dkim.key"
    path.write_bytes(b64encode(bytes(range(32))))
    path.chmod(0o600)
    return path


def test_render_shows_the_signature(site: Any, maildropd: Any, key: Path) -> None:
    """The exact message has its signature, and is counted with it."""
    site.configure(TABLE.format(key))
    done = maildropd("render", EXAMPLES / "invoice-4711")
    assert done.code == 0
    assert done.octets.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com;")
    assert f"{len(done.octets)} octets from <" in done.err
    assert "not signed" not in done.err
    public = b"A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="  # of the octets 0 to 31, by another program
    assert dkim.verify(done.octets, dnsfunc=lambda *_, **__: b"v=DKIM1; k=ed25519; p=" + public)


def test_render_without_the_key(site: Any, maildropd: Any, key: Path) -> None:
    """Who can't read the key sees the message without a signature, and is told so in one line."""
    key.unlink()
    site.configure(TABLE.format(key))
    done = maildropd("render", EXAMPLES / "invoice-4711")
    assert done.code == 0
    assert b"DKIM-Signature" not in done.octets
    assert done.err.splitlines()[0].startswith(f"not signed: {site.config}: dkim.key_file: {key}: No such file")
    assert done.err.count("not signed") == 1


def test_lint_needs_no_key(site: Any, maildropd: Any, key: Path) -> None:
    """A job is judged without the key."""
    key.unlink()
    site.configure(TABLE.format(key))
    done = maildropd("lint", EXAMPLES / "invoice-4711")
    assert done.code == 0
    assert done.err == ""
