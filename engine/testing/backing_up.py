"""Test backups: consistent copies of all committed jobs, made while the storage is in use."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from engine.domain.exceptions import StorageError
from engine.storage.audit import AuditLine
from engine.storage.protocol import Opened, Storage
from engine.testing.fixtures import NewStorage, OpenStore, StorageFixtures
from engine.testing.removing import fill
from engine.testing.store import Session, opened
from engine.testing.values import NOON, RUNNING, STATUS_OUTCOMES, OddStatus

_PRECIOUS = b"precious"
_SECONDS_AGAINST_HANGS = 60


class _StopError(Exception):
    """Raised by a progress callback, to stop the backup."""


class BackingUpTests(StorageFixtures):
    """Tests `backup` of the protocol; `new_storage` opens the copy by its path."""

    @pytest.fixture
    def copy_path(self, tmp_path: Path) -> Path:
        """Return the path of the copy, in an empty folder."""
        folder = tmp_path / "copies %27 ä"
        folder.mkdir()
        return folder / "copy"

    @pytest.fixture
    def taken_path(self, copy_path: Path) -> Path:
        """Return a path that has a file already."""
        copy_path.write_bytes(_PRECIOUS)
        return copy_path

    async def test_a_storage_that_makes_no_copies_says_so(
        self, open_store: OpenStore, copy_path: Path
    ) -> None:
        if self.backs_up:
            pytest.skip("backs_up is True")
        async with open_store() as session:
            with pytest.raises(StorageError):
                await _back_up(session, copy_path)
            assert _files_beside(copy_path) == {}

    async def test_a_copy_has_everything(
        self, open_store: OpenStore, new_storage: NewStorage, copy_path: Path
    ) -> None:
        self.needs_backup()
        async with open_store() as session:
            await fill(session)
            await session.note_acts([AuditLine(NOON, "us", "prune")])
            await session.remove(keep=5)
            await _back_up(session, copy_path)
            copied = deepcopy(session.book)
            await session.commit(session.batch().create("only in the original"))
            async with opened(new_storage(copy_path), copied) as copy:
                await copy.commit(copy.batch().create("only in the copy"))
                await copy.check()
                await session.check()
        async with opened(new_storage(copy_path), copied):
            pass

    async def test_a_copy_of_a_new_storage_is_a_new_storage(
        self, open_store: OpenStore, new_storage: NewStorage, copy_path: Path
    ) -> None:
        self.needs_backup()
        async with open_store() as session:
            await _back_up(session, copy_path)
            async with opened(new_storage(copy_path), deepcopy(session.book)):
                pass

    async def test_a_copy_begins_an_epoch_when_it_is_first_opened(
        self, open_store: OpenStore, new_storage: NewStorage, copy_path: Path
    ) -> None:
        self.needs_backup()
        async with open_store() as session:
            await fill(session)
            await _back_up(session, copy_path)
            first = session.book.last_sequence + 1
        epochs = []
        for _ in range(2):
            copy = new_storage(copy_path)
            epochs.append([*(await copy.open(STATUS_OUTCOMES, {}, RUNNING)).epochs])
            await copy.aclose()
        assert epochs[0] == epochs[1]
        assert [epoch.first_sequence for epoch in epochs[0]] == [1, first]

    async def test_a_copy_made_beside_commits_has_whole_batches(
        self, open_store: OpenStore, new_storage: NewStorage, copy_path: Path
    ) -> None:
        self.needs_backup()
        async with open_store() as session:
            await _add_jobs(session)
            begun = session.book.last_sequence
            with anyio.fail_after(_SECONDS_AGAINST_HANGS):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_back_up, session, copy_path, done := anyio.Event())
                    while not done.is_set():
                        await _add_jobs(session)
            sequence = (await _opening(new_storage(copy_path))).last_sequence
            assert begun <= sequence <= session.book.last_sequence
            async with opened(new_storage(copy_path), session.book.up_to(sequence)):
                pass

    async def test_what_is_there_already_is_left_alone(
        self, open_store: OpenStore, taken_path: Path
    ) -> None:
        self.needs_backup()
        async with open_store() as session:
            await fill(session)
            for path in (taken_path, taken_path.parent):
                with pytest.raises(StorageError):
                    await _back_up(session, path)
                assert _files_beside(taken_path) == {taken_path.name: _PRECIOUS}
            await session.check()

    async def test_a_copy_that_cannot_be_written_is_refused(
        self, open_store: OpenStore, copy_path: Path
    ) -> None:
        self.needs_backup()
        async with open_store() as session:
            await fill(session)
            with pytest.raises(StorageError):
                await _back_up(session, copy_path / "in a folder that is missing")
            await session.check()
        assert _files_beside(copy_path) == {}

    async def test_each_copy_begins_an_epoch(
        self, open_store: OpenStore, new_storage: NewStorage, path: Path, copy_path: Path
    ) -> None:
        self.needs_backup()
        other = copy_path.with_name("other.db")
        async with open_store() as session:
            await fill(session)
            for target in (copy_path, other):
                await _back_up(session, target)
            last = session.book.last_sequence
            await _add_jobs(session)
        before = (await _opening(new_storage(path))).epochs
        copies = [(await _opening(new_storage(each))).epochs for each in (copy_path, other)]
        assert [[*each[:-1]] for each in copies] == [[*before]] * 2
        names = [epoch.name for epochs in (before, *copies) for epoch in epochs[-1:]]
        assert len(set(names)) == 3
        assert {epochs[-1].first_sequence for epochs in copies} == {last + 1}
        assert (await _opening(new_storage(copy_path))).epochs == copies[0]  # and no other opening

    async def test_a_progress_callback_may_stop_the_backup(
        self, open_store: OpenStore, copy_path: Path
    ) -> None:
        self.needs_backup()

        def stop(done: int, of: int) -> None:
            assert 0 <= done <= of
            raise _StopError

        async with open_store() as session:
            await fill(session)
            with pytest.raises(_StopError):
                await to_thread.run_sync(session.storage.backup, copy_path, stop)
            await session.check()
            assert _files_beside(copy_path) == {}
            await _back_up(session, copy_path)


def _files_beside(path: Path) -> dict[str, bytes]:
    """Return the files in the folder of a path, with their contents."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


async def _back_up(session: Session, path: Path, done: anyio.Event | None = None) -> None:
    """Make a copy in a thread, as the engine does."""

    def check_progress(done: int, of: int) -> None:
        assert 0 <= done <= of

    await to_thread.run_sync(session.storage.backup, path, check_progress)
    if done is not None:
        done.set()


async def _add_jobs(session: Session) -> None:
    """Commit a batch that a careless copy would cut in two: some jobs, and their ends."""
    batch, first = session.batch(), session.book.last_position
    for number in range(first, first + 10):
        labels = {"of": f"c{number % 2}"}
        batch.create(f"job {number}", key=f"key {number}", kind="report", labels=labels)
        batch.move(f"job {number}", OddStatus.DONE if number % 2 else OddStatus.RUNNING)
    await session.commit(batch)
    await checkpoint()


async def _opening(storage: Storage) -> Opened:
    """Return what a storage says when it is opened."""
    try:
        return await storage.open(STATUS_OUTCOMES, {}, RUNNING)
    finally:
        await storage.aclose()
