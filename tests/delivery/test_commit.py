"""Many couriers, few waits: what is synced together, and who hears of a failure."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator

import pytest

from maildrop.delivery.commit import Commit

Syncs = list[int]


@pytest.fixture
def commit() -> Iterator[Commit]:
    """Make a commit and end its threads."""
    made = Commit()
    yield made
    made.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    """Record which descriptors are synced; 13 has a broken disk."""
    done: Syncs = []

    def fsync(descriptor: int) -> None:
        done.append(descriptor)
        if descriptor == 13:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    return done


def run(commit: Commit, *descriptors: int) -> list[BaseException | None]:
    """Let that many couriers ask at the same moment; return what each of them got."""

    async def ask() -> list[BaseException | None]:
        return await asyncio.gather(*(commit.sync(one) for one in descriptors), return_exceptions=True)

    return asyncio.run(ask())


def test_one_sync_for_all_who_ask_at_the_same_moment(commit: Commit, synced: Syncs) -> None:
    """A hundred couriers that settled into the same folder wait for one sync."""
    assert run(commit, *[7] * 100) == [None] * 100
    assert synced == [7]


def test_each_directory_is_synced_once(commit: Commit, synced: Syncs) -> None:
    """Different folders are each synced."""
    assert run(commit, 7, 8, 9, 8) == [None] * 4
    assert sorted(synced) == [7, 8, 9]


def test_a_failure_reaches_everybody_who_asked_for_that_directory(commit: Commit, synced: Syncs) -> None:
    """Whoever waited for a broken disk hears it, the others do not."""
    first, second, third = run(commit, 13, 7, 13)
    assert isinstance(first, OSError)
    assert isinstance(third, OSError)
    assert second is None
    assert sorted(synced) == [7, 13]


def test_who_asks_later_gets_a_sync_of_his_own(commit: Commit, synced: Syncs) -> None:
    """A sync that began before a courier asked does not count for him."""

    async def ask() -> None:
        await commit.sync(7)
        await commit.sync(7)

    asyncio.run(ask())
    assert synced == [7, 7]


def test_who_asks_during_a_sync_waits_for_the_next(commit: Commit, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handed in while a batch is on its way forms the next one, and is not lost."""
    done: Syncs = []
    wake: list[Callable[[], object]] = []

    async def ask() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        wake.append(lambda: loop.call_soon_threadsafe(begun.set))
        first = asyncio.create_task(commit.sync(7))
        await begun.wait()
        await asyncio.gather(first, *(commit.sync(7) for _ in range(3)))

    def fsync(descriptor: int) -> None:
        done.append(descriptor)
        wake[0]()

    monkeypatch.setattr(os, "fsync", fsync)
    asyncio.run(ask())
    assert done == [7, 7]


def test_a_courier_that_is_cancelled_does_not_disturb_the_others(commit: Commit, synced: Syncs) -> None:
    """A cancelled wait leaves the sync to those who still wait."""

    async def ask() -> None:
        first, second = asyncio.create_task(commit.sync(7)), asyncio.create_task(commit.sync(7))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()

    asyncio.run(ask())
    assert synced == [7]
