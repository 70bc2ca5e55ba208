"""Test what operators tell engines that share a storage: pauses of kinds, and drains."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import pytest

from engine.domain.exceptions import LeaseLostError
from engine.domain.pauses import NO_PAUSES
from engine.storage.audit import AuditLine, KeptAuditLine
from engine.testing.party import Party, created
from engine.testing.pausing import paused
from engine.testing.shared_fixtures import EndLease, OpenPair, SharedFixtures
from engine.testing.values import NOON

_LINE: Final = AuditLine(NOON, "us", "pause")
_NO_ENGINE: Final = 2**40
_SECONDS: Final = 20.0  # for what takes a beat


@asynccontextmanager
async def news_of_instructions(party: Party) -> AsyncIterator[None]:
    """Check that an engine learns of what happens in the body."""
    before = party.shared.instructions
    yield
    with anyio.fail_after(_SECONDS):
        while party.shared.instructions == before:
            await party.shared.news(1.0)


class InstructingTests(SharedFixtures):
    """Tests the pauses of a shared storage, and `Shared.instructions` and its drains."""

    async def test_each_learns_of_the_pauses_of_the_other(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            for text, before in ((paused("a"), NO_PAUSES), (NO_PAUSES, paused("a"))):
                async with news_of_instructions(other), news_of_instructions(one):
                    assert await one.storage.keep_pauses(text, before)
                assert await other.storage.pauses() == text

    async def test_each_learns_of_what_is_undone_at_once(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            for _ in range(5):  # a beat may come between the two
                async with news_of_instructions(other), news_of_instructions(one):
                    assert await one.storage.keep_pauses(paused("a"), NO_PAUSES)
                    assert await one.storage.keep_pauses(NO_PAUSES, paused("a"))
                async with news_of_instructions(one):
                    assert await one.shared.drain(None, draining=True)
                    assert await one.shared.drain(None, draining=False)

    async def test_nobody_takes_back_pauses_unseen(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            assert await one.storage.keep_pauses(paused("a"), NO_PAUSES)
            assert not await other.storage.keep_pauses(paused("b"), NO_PAUSES, [_LINE])
            assert not await other.storage.audit(None, 9)
            assert await other.storage.pauses() == paused("a") == await one.storage.pauses()
            assert await other.storage.keep_pauses(paused("a", "b"), paused("a"))
            assert await one.storage.pauses() == paused("a", "b")

    async def test_one_engine_drains_itself(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            for draining in (True, True, False):
                assert await one.shared.drain(None, draining=draining)
                assert await one.shared.is_draining() is draining
                assert not await other.shared.is_draining()

    async def test_an_engine_learns_of_its_drain(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, _):
            for draining in (True, False):
                async with news_of_instructions(one):
                    assert await one.shared.drain(None, draining=draining)

    async def test_a_drain_is_there_with_its_line(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            assert not await other.shared.drain(_NO_ENGINE, [_LINE], draining=True)
            assert not await other.storage.audit(None, 9)
            assert not await other.shared.is_draining()
            for _ in range(2):
                assert await one.shared.drain(None, [_LINE], draining=True)
            [line] = await other.storage.audit(None, 9)
            assert line == KeptAuditLine(1, *_LINE)

    async def test_a_dead_engine_is_not_drained(
        self, open_pair: OpenPair, end_lease: EndLease
    ) -> None:
        async with open_pair() as (one, _):
            await end_lease(one.storage)
            with pytest.raises(LeaseLostError):
                await one.shared.drain(None, [_LINE], draining=True)
            assert not await one.shared.is_draining()

    async def test_a_dead_engine_tells_the_others_nothing(
        self, open_pair: OpenPair, end_lease: EndLease
    ) -> None:
        async with open_pair() as (one, other):
            await end_lease(one.storage)
            with pytest.raises(LeaseLostError):
                await one.storage.keep_pauses(paused("a"), NO_PAUSES, [_LINE])
            with pytest.raises(LeaseLostError):
                await one.storage.keep_rules('[{"kind":"a","to":["b"]}]', [_LINE])
            assert await other.storage.pauses() == NO_PAUSES
            assert (await other.storage.rules()).text == "[]"
            assert not await other.storage.audit(None, 9)

    async def test_a_drained_engine_handles_no_kind(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a", kind="report"))
            one.shared.handles(["report"])
            for draining in (True, False):
                async with news_of_instructions(one):  # which comes with a beat, as its kinds do
                    assert await one.shared.drain(None, draining=draining)
                unhandled = await other.shared.unhandled_kinds([], 9)
                assert [*unhandled] == ["report"] * draining
                counts = await other.shared.ready_counts([], [])
                assert (counts.ready, counts.unhandled) == (1, int(draining))
