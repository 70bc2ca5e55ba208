"""Test that pauses are kept, and outlive the engine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from engine.domain.models import Pause
from engine.domain.pauses import MAX_PAUSES, NO_PAUSES, Pauses
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS, MAX_REASON_CHARACTERS
from engine.testing.fixtures import OpenEngine, OpenStore, StorageFixtures
from engine.testing.values import TEXTS

_AT: Final = datetime(2026, 11, 29, 3, 0, 0, 1, tzinfo=UTC)


def paused(*kinds: str, gates: Iterable[str] = (), reason: str | None = None) -> str:
    """Return the stored form of the pauses of some kinds and gates."""
    named = [*({"kind": each} for each in kinds), *({"gate": each} for each in gates)]
    return Pauses(Pause(**each, at=_AT, by="us", reason=reason) for each in named).text


class PausingTests(StorageFixtures):
    """Tests `pauses` and `keep_pauses`, and what an engine makes of them."""

    async def test_pauses_are_kept(self, open_store: OpenStore) -> None:
        every = (f"{number:ß<{MAX_IDENTIFIER_CHARACTERS}}" for number in range(MAX_PAUSES))
        largest = paused(gates=every, reason=MAX_REASON_CHARACTERS * "ß")
        texts = [paused("a", gates=[text], reason=text) for text in TEXTS]
        texts += [largest, NO_PAUSES, paused(gates=["a"]), paused("a")]
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
            await engine.pause(gate="report", by="us")
            before = await engine.paused()
        async with open_engine() as engine:
            assert await engine.paused() == before
            assert await engine.resume("report")
            assert await engine.paused() == before[1:]
            assert await engine.resume(gate="report")
        async with open_engine() as engine:
            assert await engine.paused() == []
