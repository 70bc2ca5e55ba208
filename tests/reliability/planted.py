"""A storage that holds its commits, or fails, when a test says so."""

# ruff: noqa: ANN401 - arguments and answers are passed on unchanged

import threading
from collections.abc import Sequence
from typing import Any

from anyio import sleep_forever, to_thread
from anyio.lowlevel import checkpoint

from engine import MemoryStorage
from engine.storage.audit import AuditLine
from engine.storage.record import Change

SECONDS_AGAINST_HANGS = 60


class PlantedError(Exception):
    """A bug: not one of the engine's own errors."""


class PlantedStorage(MemoryStorage):
    """Keeps everything in memory, with planted faults. Any thread may plant and release them.

    Every call lets other tasks run, so messages arrive while the owner is busy.

    Attributes:
        begun: Set while a commit is held.
        committing: The input hashes of the jobs in the newest batch.
        closed: The number of times that it was closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.committing: set[str] = set()
        self.closed = 0
        self._for_ever = False
        self._let_go = threading.Event()
        self._let_go.set()
        self._errors: dict[str, tuple[BaseException, int, bool]] = {}

    def hold(self) -> None:
        """Hold every commit from now on."""
        self.begun.clear()
        self._let_go.clear()

    def hold_for_ever(self) -> None:
        """Hold every commit from now on for ever, without a thread that waits."""
        self._let_go.clear()
        self._for_ever = True

    def let_go(self) -> None:
        """Release the held commit, and hold no more."""
        self._let_go.set()

    @property
    def is_let_go(self) -> bool:
        return self._let_go.is_set()

    def wait(self) -> None:
        """Wait in this thread until a commit is released."""
        assert self._let_go.wait(SECONDS_AGAINST_HANGS)

    def plant(
        self, error: BaseException, method: str = "commit", *, skip: int = 0, applied: bool = False
    ) -> None:
        """Raise this error from one call of a method: the next, or some later one.

        With ``applied`` the call raises it after doing its work.
        """
        self._errors[method] = (error, skip, applied)

    async def checkout(self, *arguments: Any) -> Any:
        await checkpoint()
        self._raise("checkout")
        return await super().checkout(*arguments)

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.committing = {change.record.input_hash for change in changes}
        if not self._let_go.is_set():
            self.begun.set()
            if self._for_ever:
                await sleep_forever()
            await to_thread.run_sync(self._let_go.wait, SECONDS_AGAINST_HANGS)
        await checkpoint()
        self._raise("commit")
        await super().commit(changes, lines)
        self._raise("commit", applied=True)

    async def remove_ended(self, *arguments: Any) -> Any:
        await checkpoint()
        self._raise("remove_ended")
        return await super().remove_ended(*arguments)

    async def count(self, *arguments: Any) -> Any:
        await checkpoint()
        self._raise("count")
        return await super().count(*arguments)

    async def page(self, *arguments: Any, **order: Any) -> Any:
        await checkpoint()
        self._raise("page")
        return await super().page(*arguments, **order)

    async def history(self, *arguments: Any) -> Any:
        await checkpoint()
        self._raise("history")
        return await super().history(*arguments)

    async def aclose(self) -> None:
        self.closed += 1
        self._raise("aclose")
        await super().aclose()

    def _raise(self, method: str, *, applied: bool = False) -> None:
        if method not in self._errors:
            return
        error, skip, planted_applied = self._errors[method]
        if planted_applied is not applied:
            return
        if skip:
            self._errors[method] = (error, skip - 1, applied)
            return
        del self._errors[method]
        raise error


async def begun(storage: PlantedStorage) -> None:
    """Wait until the storage holds a commit."""
    assert await to_thread.run_sync(storage.begun.wait, SECONDS_AGAINST_HANGS)
