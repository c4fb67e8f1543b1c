"""Many couriers, few waits: what is synced together, and who hears of a failure."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from maildrop.delivery import commit as commit_module
from maildrop.delivery.commit import Commit


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """Open a directory that can be synced."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def broken() -> Iterator[int]:
    """Open something that can't be synced: a pipe."""
    reader, writer = os.pipe()
    yield reader
    os.close(reader)
    os.close(writer)


@pytest.fixture
def commit() -> Iterator[Commit]:
    """Make a commit and end its thread."""
    made = Commit()
    yield made
    made.close()


def run(commit: Commit, *descriptors: int) -> list[BaseException | None]:
    """Let that many couriers ask at the same moment; return what each of them got."""

    async def ask() -> list[BaseException | None]:
        return await asyncio.gather(*(commit.sync(one) for one in descriptors), return_exceptions=True)

    return asyncio.run(ask())


def test_everybody_who_asks_is_told(commit: Commit, folder: int) -> None:
    """A hundred couriers that settled into the same folder all hear of the end, each time they ask."""
    assert run(commit, *[folder] * 100) == [None] * 100
    assert run(commit, folder) == [None]


def test_many_descriptors_at_once(commit: Commit, tmp_path: Path) -> None:
    """More syncs than may be in flight are all done."""
    files = [os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT) for number in range(400)]
    try:
        assert run(commit, *files) == [None] * 400
    finally:
        for descriptor in files:
            os.close(descriptor)


def test_a_failure_reaches_everybody_who_asked_for_that_descriptor(commit: Commit, folder: int, broken: int) -> None:
    """Whoever waited for what can't be synced hears it, the others do not."""
    first, second, third = run(commit, broken, folder, broken)
    assert isinstance(first, OSError)
    assert isinstance(third, OSError)
    assert second is None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_descriptor_that_is_closed_fails_alone(commit: Commit, folder: int, tmp_path: Path, place: int) -> None:
    """A descriptor that is no more fails wherever it stands in the batch, and only itself."""
    other = os.open(tmp_path, os.O_RDONLY)
    asked = [folder, other]
    asked.insert(place, 9999)
    found = run(commit, *asked)
    os.close(other)
    assert isinstance(found.pop(place), OSError)
    assert found == [None, None]


def test_a_courier_that_is_cancelled_does_not_disturb_the_others(commit: Commit, folder: int) -> None:
    """A cancelled wait leaves the sync to those who still wait."""

    async def ask() -> None:
        first, second = asyncio.create_task(commit.sync(folder)), asyncio.create_task(commit.sync(folder))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()

    asyncio.run(ask())


def test_one_sync_for_all_who_ask_in_the_same_turn(
    folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each descriptor of a turn is synced once, and who asks after its sync began gets one of his own."""
    synced: list[int] = []
    monkeypatch.setattr(commit_module, "sync", synced.append)
    other = os.open(tmp_path, os.O_RDONLY)
    commit = Commit()
    run(commit, folder, other, folder)
    run(commit, folder)
    commit.close()
    os.close(other)
    assert sorted(synced) == sorted([folder, other, folder])
