"""Limits: one read gives 16,777,216 characters of long texts at most, and says what it left."""

from __future__ import annotations

from typing import Any

import pytest

from engine.domain.validation import MAX_READ_CHARACTERS, MAX_RESULT_CHARACTERS
from engine.storage.answers import Names
from engine.storage.filter import ALL_JOBS, JobFilter, Label
from engine.storage.record import Execution
from engine.testing.book import Batch
from engine.testing.fixtures import OpenStore, StorageFixtures
from engine.testing.store import Session
from engine.testing.values import OddStatus, prompt_of

_FITTING = MAX_READ_CHARACTERS // MAX_RESULT_CHARACTERS
_LONGEST = f'"{"x" * (MAX_RESULT_CHARACTERS - 2)}"'
_MANY = 1_000


class LimitingTests(StorageFixtures):
    """The protocol's `ReadLimit`, which `page` and `checkout` keep.

    `Listings.pages` and `Session.checkouts` compare each part with it: one that is too large, one
    that could have been larger, and one that leaves jobs out without saying so.
    """

    @pytest.mark.parametrize("surplus", [-1, 0, 1, _FITTING, _FITTING + 1])
    async def test_a_page_ends_before_it_holds_too_much(
        self, open_store: OpenStore, surplus: int
    ) -> None:
        """Pages end where their jobs have just as much as one read gives, and one job before."""
        async with open_store() as session:
            large = _FITTING + surplus
            await _end_with_results(session, large)
            pages = await session.listings.pages(ALL_JOBS, _MANY)
            assert list(map(len, pages)) == _parts_of(large)
            assert len(await session.listings.pages(ALL_JOBS, _FITTING)) == len(pages)
            await session.check(every=_FITTING)

    async def test_a_page_of_some_jobs_ends_before_it_holds_too_much(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as session:
            batch = session.batch()
            longest = _LONGEST.replace("x" * len('{"of":"c1"}'), "", 1)  # labels count, too
            for number in range(3 * _FITTING):
                kind, labels = ("report", {"of": "c2"}) if number % 3 else ("default", {"of": "c1"})
                batch.create(f"job {number}", given_input=longest, kind=kind, labels=labels)
                if number % 3:
                    batch.move(f"job {number}", OddStatus.RUNNING)
            await session.commit(batch)
            few, many = Label("of", "c1"), Label("of", "c2")
            for jobs, large in (
                (JobFilter(OddStatus.WAITING), _FITTING),
                (JobFilter(OddStatus.RUNNING), 2 * _FITTING),
                (JobFilter(kind="report"), 2 * _FITTING),
                (JobFilter(labels=(few,)), _FITTING),
                (JobFilter(labels=(many,)), 2 * _FITTING),
            ):
                for newest_first in (False, True):
                    pages = await session.listings.pages(jobs, _MANY, newest_first=newest_first)
                    assert list(map(len, pages)) == _parts_of(large)
            both = JobFilter(OddStatus.RUNNING, labels=(many,))
            assert sum(map(len, await session.listings.pages(both, _MANY))) == 2 * _FITTING
            assert await session.listings.pages(JobFilter(OddStatus.DONE), _MANY) == [[]]

    @pytest.mark.parametrize("text", ["result", "error", "input", "prompt", "answers"])
    async def test_every_long_text_counts(self, open_store: OpenStore, text: str) -> None:
        """Two jobs fill a page, of which nearly all is one text."""
        half = f'{{"a":"{"x" * (MAX_READ_CHARACTERS // 2 - 8)}"}}'
        prompt = prompt_of("x" * (MAX_READ_CHARACTERS // 12 - 100))  # has it six times
        async with open_store() as session:
            for number in range(3):
                batch = session.batch()
                name = f"job {number}"
                batch.create(name, given_input=half if text == "input" else None)
                if text == "result":
                    batch.move(name, OddStatus.DONE, result=half)
                elif text == "error":
                    batch.move(name, OddStatus.LOST, error=half)
                elif text != "input":
                    fields: dict[str, Any] = {text: prompt if text == "prompt" else half}
                    batch.amend(name, **fields)
                await session.commit(batch)
            assert list(map(len, await session.listings.pages(ALL_JOBS, _MANY))) == [2, 1]

    async def test_a_job_that_is_too_large_by_itself_is_on_a_page_of_its_own(
        self, open_store: OpenStore
    ) -> None:
        too_large = Execution(answers=f'{{"a":"{"x" * MAX_READ_CHARACTERS}"}}')
        async with open_store() as session:
            batch = session.batch().create("before").create("too large", execution=too_large)
            await session.commit(batch.create("after"))
            assert list(map(len, await session.listings.pages(ALL_JOBS, _MANY))) == [1, 1, 1]

    async def test_jobs_are_checked_out_in_parts(self, open_store: OpenStore) -> None:
        """Ids come first, then keys, then payments; names that nobody has take no room."""
        async with open_store() as session:
            await _end_with_results(session, 2 * _FITTING + 1)
            ids = [f"job {number}" for number in range(2 * _FITTING, 0, -1)]
            keys = ["nobody's key", *(f"key {number}" for number in range(3))]
            ids.insert(1, "unheard of")
            payments = [f"payment {number}" for number in range(2)]
            parts = await session.checkouts(Names(ids, keys, payments))
            found = [[name for part in parts for name in part.parts[n].jobs] for n in range(3)]
            if session.keeps_table:
                assert not any(found)
                return
            sizes = [sum(len(each.jobs) for each in part.parts) for part in parts]
            assert sizes == _parts_of(len(ids) + 4)
            assert found == [[each for each in ids if each != "unheard of"], keys[1:], payments]
            await session.check(every=_FITTING)


async def _end_with_results(session: Session, jobs: int) -> None:
    """Commit ended jobs with the longest results."""
    for number in range(jobs):
        batch: Batch = session.batch()
        batch.create(f"job {number}", key=f"key {number}", identifier=f"payment {number}")
        await session.commit(batch.move(f"job {number}", OddStatus.DONE, result=_LONGEST))


def _parts_of(large: int) -> list[int]:
    """Return how many jobs each read gives, of so many with the longest texts."""
    full, rest = divmod(large, _FITTING)
    return [_FITTING] * full + [rest] * bool(rest)
