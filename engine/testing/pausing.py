"""Test that paused kinds are kept, and outlive the engine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from engine.domain.models import PausedKind
from engine.domain.pauses import MAX_PAUSED_KINDS, NO_PAUSES, Pauses
from engine.domain.validation import MAX_REASON_CHARACTERS
from engine.testing.fixtures import OpenEngine, OpenStore, StorageFixtures
from engine.testing.values import TEXTS

_AT: Final = datetime(2026, 11, 29, 3, 0, 0, 1, tzinfo=UTC)


def paused(*kinds: str, reason: str | None = None) -> str:
    """Return the stored form of the pauses of some kinds."""
    return Pauses(PausedKind(kind=each, at=_AT, by="us", reason=reason) for each in kinds).text


class PausingTests(StorageFixtures):
    """Tests `pauses` and `keep_pauses`, and what an engine makes of them."""

    async def test_paused_kinds_are_kept(self, open_store: OpenStore) -> None:
        every = (f"kind-{number}" for number in range(MAX_PAUSED_KINDS))
        largest = paused(*every, reason=MAX_REASON_CHARACTERS * "ß")
        texts = [*(paused("a", reason=text) for text in TEXTS), largest, NO_PAUSES, paused("a")]
        async with open_store() as session:
            before = await session.storage.pauses()
            assert before == NO_PAUSES
            for text in texts:
                assert await session.storage.keep_pauses(text, before)
                assert await session.storage.pauses() == text
                before = text
            await session.commit(session.batch().create("a"))
            assert await session.storage.pauses() == before
        if self.outlives_closing:
            async with open_store() as session:
                assert await session.storage.pauses() == before

    async def test_a_restart_resumes_nothing(self, open_engine: OpenEngine) -> None:
        self.needs_reopening()
        async with open_engine() as engine:
            await engine.pause("report", by="us", reason="ß")
            [before] = await engine.paused()
        async with open_engine() as engine:
            assert await engine.paused() == [before]
            assert await engine.resume("report")
        async with open_engine() as engine:
            assert await engine.paused() == []
