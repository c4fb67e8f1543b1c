"""Fixtures for the spool: a fresh one on disk, jobs dropped into it, and other users to drop them."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from maildrop.spool.layout import Spool, State, init
from maildrop.spool.readiness import Drop, Kind
from maildrop.spool.record import Outcome, RecipientResult, Result, Status

T = TypeVar("T")
NOW = datetime(2026, 11, 23, 8, 0, 0, 120000, UTC)


@pytest.fixture
def spool_path(tmp_path: Path) -> Path:
    """Make a spool with ``init``, for the user who runs the tests."""
    path = tmp_path / "spool"
    init(str(path), user="root" if os.geteuid() == 0 else None)
    return path


@pytest.fixture
def spool(spool_path: Path) -> Iterator[Spool]:
    """Open that spool."""
    with Spool.open(str(spool_path), volatile=True) as opened:
        yield opened


@pytest.fixture
def drop_folder(spool_path: Path) -> Callable[..., Drop]:
    """Make a job folder in a state of the fresh spool; returns what the intake would hand out for it."""

    def drop(name: str, files: Mapping[str, bytes] | None = None, *, state: State = State.INCOMING) -> Drop:
        folder = spool_path / state / name
        folder.mkdir()
        for relative, content in (files or {"envelope.toml": b'to = "a@example.org"\n'}).items():
            file = folder / relative
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return Drop(name=name, job=name, kind=Kind.DIRECTORY)

    return drop


@pytest.fixture
def drop_file(spool_path: Path) -> Callable[..., Drop]:
    """Make a bare file in incoming; returns what the intake would hand out for it."""

    def drop(name: str, content: bytes = b"From: a@example.org\n\n") -> Drop:
        (spool_path / State.INCOMING / name).write_bytes(content)
        kind = Kind.EML if name.endswith(".eml") else Kind.STRAY
        return Drop(name=name, job=name.removesuffix(".eml"), kind=kind)

    return drop


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """Make a result; recipients are given as ``address=status`` or ``address=(status, code)``."""

    def make(outcome: Outcome = Outcome.SENT, *, changes: Mapping[str, Any] | None = None, **recipients: Any) -> Result:
        rows = []
        for address, word in (recipients or {"a": (Status.DELIVERED, 250)}).items():
            status, code = word if isinstance(word, tuple) else (word, None)
            text = None if code is None else f"{code} said"
            rows.append(RecipientResult(address=f"{address}@example.org", status=status, code=code, text=text))
        values: dict[str, Any] = {"job": "j", "reason": "r", "claimed": NOW, "recipients": tuple(rows)}
        return Result(outcome=outcome, **{**values, **(changes or {})})

    return make


@pytest.fixture
def public_path() -> Iterator[Path]:
    """Make a folder that other users can reach, which pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="maildrop-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_user() -> Callable[[int, Callable[[], T]], T]:
    """Run a function in a child process of another uid, and return what it returns; its exceptions are raised here."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; run the tests as root to include these")

    def run(uid: int, function: Callable[[], T]) -> T:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _be(uid, function, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            returned, value = pickle.loads(pipe.read())
        os.waitpid(child, 0)
        if not returned:
            raise value
        result: T = value
        return result

    return run


def _be(uid: int, function: Callable[[], object], writer: int) -> None:
    """Become the user, call, write what came of it, and end without running any of pytest's code."""
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        answer = pickle.dumps((True, function()))
    except BaseException as error:  # whatever it is, the parent raises it
        answer = pickle.dumps((False, AssertionError(f"{type(error).__name__}: {error}")))
    os.write(writer, answer)
    os._exit(0)
