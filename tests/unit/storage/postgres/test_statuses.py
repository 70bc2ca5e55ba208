"""Tests of an opening that makes the jobs fit its lifecycle, while other engines go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import pytest
from anyio import to_thread

from engine import StorageError
from engine.storage.postgres import PostgresStorage, statuses
from engine.testing.party import amended, created, joined
from engine.testing.values import RUNNING, STATUS_OUTCOMES, OddStatus
from tests.interventions import Intruder

pytestmark = pytest.mark.anyio

_WAITING: Final = OddStatus.WAITING.value
_RENAMED: Final = {_WAITING: RUNNING}
_OUTCOMES: Final = {each: its for each, its in STATUS_OUTCOMES.items() if each != _WAITING}


@asynccontextmanager
async def _opened_with_renames(url: str) -> AsyncIterator[None]:
    storage = PostgresStorage(url)
    try:
        await storage.open(_OUTCOMES, _RENAMED, RUNNING)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await storage.aclose()


async def test_jobs_are_renamed_in_steps_which_the_next_opening_continues(
    postgres_url: str, intruder: Intruder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no engine waits for many jobs; and a crash leaves nothing half done."""
    monkeypatch.setattr(statuses, "_STEP_ROWS", 2)

    async def fail_to_open() -> None:
        with pytest.raises(StorageError, match="terminat"):
            async with _opened_with_renames(postgres_url):
                pass

    async with joined(PostgresStorage(postgres_url)) as party:
        await party.apply(*(created(name, OddStatus.WAITING) for name in "abcde"))
        intruder.run("BEGIN", "SELECT FROM jobs WHERE job_id = 'd' FOR UPDATE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail_to_open)
            await to_thread.run_sync(intruder.until_blocking)
            found = [(await party.look(name)).status for name in "abcde"]
            assert found == [RUNNING, RUNNING, _WAITING, _WAITING, _WAITING]
            await party.apply(amended(await party.look("a")))
            intruder.terminate_blocked()
        intruder.run("ROLLBACK")
        async with joined(PostgresStorage(postgres_url)):
            jobs, entries = await party.everything()
        assert {job.status for job in jobs} == {RUNNING}  # type: ignore[attr-defined]
        assert {entry.to_status for entry in entries} == {RUNNING}


async def test_each_opening_renames_what_engines_with_the_old_names_have_left(
    postgres_url: str,
) -> None:
    async with joined(PostgresStorage(postgres_url)) as party:
        for name in "ab":
            await party.apply(created(name, OddStatus.WAITING))
            async with _opened_with_renames(postgres_url):
                assert (await party.look(name)).status == RUNNING
