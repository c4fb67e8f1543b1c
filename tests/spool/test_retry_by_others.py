"""An order of somebody who may not give it changes nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maildrop.errors import NotPermitted
from maildrop.spool.byhand import retry
from maildrop.spool.layout import Spool, State, init
from maildrop.spool.lookup import Place


def test_a_retry_by_a_producer_leaves_the_record_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer owns its job's folder and could replace the result before the move is refused."""
    init(str(tmp_path / "spool"), user=None if os.geteuid() else "root")
    folder = tmp_path / "spool" / "failed" / "j"
    folder.mkdir()
    (folder / "result.toml").write_text("not touched")
    with Spool.open(str(tmp_path / "spool"), volatile=True) as spool:
        monkeypatch.setattr(os, "geteuid", lambda: spool.daemon + 1)
        with pytest.raises(NotPermitted, match="only root or the daemon's user"):
            retry(spool, Place(state=State.FAILED, name="j"), now=datetime.now(UTC))
    assert (folder / "result.toml").read_text() == "not touched"
