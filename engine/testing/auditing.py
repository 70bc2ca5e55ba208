"""Test the audit: its lines come with their changes, and the newest are kept."""

from __future__ import annotations

from typing import Final

import pytest

from engine.domain.validation import MAX_REASON_CHARACTERS
from engine.storage.audit import KEPT_AUDIT_LINES, MAX_ARGUMENTS_CHARACTERS, AuditLine
from engine.testing.fixtures import OpenStore, StorageFixtures
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
    """Tests the lines of `commit`, `note_acts` and `audit` of the protocol.

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

    @pytest.mark.parametrize("together", [KEPT_AUDIT_LINES // 2 - 1, KEPT_AUDIT_LINES + 1])
    async def test_only_the_newest_lines_are_kept(
        self, open_store: OpenStore, together: int
    ) -> None:
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

    async def _check_reopened(self, open_store: OpenStore) -> None:
        if self.outlives_closing:
            async with open_store():
                pass
