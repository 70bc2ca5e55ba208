"""Test the audit: its lines come with their changes, and the newest are kept."""

from __future__ import annotations

from typing import Final

import pytest

from engine.domain.pauses import NO_PAUSES
from engine.domain.validation import MAX_REASON_CHARACTERS
from engine.storage.audit import (
    MAX_ARGUMENTS_CHARACTERS,
    AuditLine,
    KeptAuditLine,
    removal_line,
)
from engine.testing.fixtures import OpenStore, StorageFixtures
from engine.testing.pausing import paused
from engine.testing.values import NOON, TEXTS, TIMES, OddStatus

_LONGEST: Final = AuditLine(
    NOON,
    "🐍" * 256,
    "move",
    "ß" * 256,
    "n\n" * (MAX_REASON_CHARACTERS // 2),
    f'{{"a":"{"x" * (MAX_ARGUMENTS_CHARACTERS - 8)}"}}',
)


class AuditingTests(StorageFixtures):
    """Tests `note_acts`, `audit` and the lines of `commit`, `keep_rules` and `remove_ended`.

    Each `Session.check` and each opening compare them with the book.
    """

    async def test_lines_of_the_audit_are_kept_as_they_are(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            lines = [AuditLine(time, "us", "retry", "a", None, "{}") for time in TIMES]
            lines += [AuditLine(NOON, text, text, text, text) for text in TEXTS]
            await session.commit(session.batch().create("a"), lines)
            await session.check()
            await session.note_acts([AuditLine(NOON, "us", "backup"), _LONGEST])
            await session.commit(session.batch().amend("a", attempt=1), [_LONGEST])
            await session.check()
        await self._check_reopened(open_store)

    @pytest.mark.parametrize("share", [0.49, 1.01])
    async def test_only_the_newest_lines_are_kept(
        self, open_store: OpenStore, kept_lines: int, share: float
    ) -> None:
        together = int(share * kept_lines)
        async with open_store() as session:
            await session.commit(session.batch().create("a"), [AuditLine(NOON, "us", "move", "a")])
            for _ in range(3):
                await session.note_acts([AuditLine(NOON, "us", "backup")] * together)
            await session.check_audit()
        await self._check_reopened(open_store)

    async def test_a_batch_that_is_refused_leaves_no_line(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            if session.keeps_table:
                pytest.skip("the owner itself refuses the id of an ended job")
            batch = session.batch().create("a").create("ended")
            await session.commit(batch.move("ended", OddStatus.DONE))
            session.book.jobs.pop("ended")
            batch = session.batch().amend("a", attempt=1).create("ended")
            await session.refuse(batch, "ended", [AuditLine(NOON, "us", "extend", "a")])
            await session.check_audit()

    async def test_lines_stay_when_their_jobs_go(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch().create("a")
            await session.commit(batch.move("a", OddStatus.DONE), [AuditLine(NOON, "us", "m", "a")])
            await session.remove(keep=0)
            assert len(await session.storage.audit(None, 9, "a")) == 1
        await self._check_reopened(open_store)

    async def test_a_removal_leaves_a_line_with_its_number(self, open_store: OpenStore) -> None:
        line = AuditLine(NOON, "us", "prune", None, "too many", '{"keep":0}')
        async with open_store() as session:
            batch = session.batch().create("live")
            for number in range(5):
                batch.create(f"job {number}").move(f"job {number}", OddStatus.DONE)
            await session.commit(batch)
            storage = session.storage
            assert not await storage.remove_ended(None, 5, 9, line)
            removed = [len(await storage.remove_ended(None, 0, 3, line)) for _ in range(3)]
            assert removed == [3, 2, 0]
            last, first = await storage.audit(None, 9)
            assert KeptAuditLine(first.number, *removal_line(line, 3)) == first
            assert KeptAuditLine(last.number, *removal_line(line, 2)) == last
            assert (first.number, last.number) == (1, 2)

    async def test_rules_are_kept_with_their_lines(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            lines = [AuditLine(NOON, "us", "remove rule"), _LONGEST]
            await session.storage.keep_rules("[]", lines)
            session.book.note(lines)
            await session.check_audit()
        await self._check_reopened(open_store)

    async def test_pauses_are_kept_with_their_lines(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            lines = [AuditLine(NOON, "us", "pause"), _LONGEST]
            assert await session.storage.keep_pauses(paused("a"), NO_PAUSES, lines)
            session.book.note(lines)
            await session.check_audit()
        await self._check_reopened(open_store)

    async def _check_reopened(self, open_store: OpenStore) -> None:
        if self.outlives_closing:
            async with open_store():
                pass
