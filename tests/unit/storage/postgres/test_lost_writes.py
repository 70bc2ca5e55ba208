"""Writes without changes of jobs whose answers are lost: the storage finds out what became of them.

Each leaves one line of the audit exactly if it is applied, however often it is lost and done again.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias, cast

import anyio
import pytest
from anyio import to_thread

from engine import CommitsLostError, CommitUnknownError, EngineError, StorageError
from engine.domain.follow_up_rules import StoredRules
from engine.domain.pauses import NO_PAUSES
from engine.storage.audit import AuditLine, removal_line
from engine.storage.postgres import PostgresStorage, settled
from engine.testing.party import Party, created, joined
from engine.testing.pausing import paused
from engine.testing.values import NOON, OddStatus
from tests.interventions import Intruder
from tests.proxy import Proxy, proxied
from tests.tries import thorough

pytestmark = pytest.mark.anyio

Write: TypeAlias = Callable[[Party], Awaitable[Any]]

_LINE: Final = AuditLine(NOON, "us", "act")
_RULES: Final = '[{"kind":"a","to":["done"]}]'
_LINES: Final = "SELECT count(*) FROM audit"


async def keep_rules(party: Party) -> StoredRules | None:
    return await party.storage.keep_rules(_RULES, [_LINE])


async def keep_pauses(party: Party) -> bool:
    return await party.storage.keep_pauses(paused("a"), NO_PAUSES, [_LINE])


async def drain(party: Party) -> bool:
    return await party.shared.drain(None, [_LINE], draining=True)


async def note_acts(party: Party) -> None:
    await party.storage.note_acts([_LINE])


async def remove_ended(party: Party) -> list[str]:
    return sorted(await party.storage.remove_ended(None, 0, 9, _LINE))


ANSWERS: Final[dict[Write, Any]] = {
    keep_rules: StoredRules(1, _RULES),
    keep_pauses: True,
    drain: True,
    note_acts: None,
    remove_ended: ["a", "b"],
}
"""By the writes, their answers when they are applied."""

each_write = pytest.mark.parametrize(
    "write",
    [keep_pauses, remove_ended, *thorough(keep_rules, drain, note_acts)],
    ids=lambda write: write.__name__,
)


@pytest.fixture
def proxy_and_url(postgres_url: str) -> Iterator[tuple[Proxy, str]]:
    with proxied(postgres_url) as found:
        yield found


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Party]:
    """Join an engine, which has two ended jobs."""
    async with joined(PostgresStorage(url)) as party:
        await party.apply(created("a", OddStatus.DONE), created("b", OddStatus.DONE))
        yield party


def swallow_answer(proxy: Proxy, write: Write) -> None:
    """Let the answer to the last statement of a write be swallowed, and all answers behind it."""
    proxy.swallow_from(b"COMMIT" if write is remove_ended else b"take_number_1")


def cut_when(proxy: Proxy, intruder: Intruder, is_so: Callable[[], object]) -> None:
    """Cut the connection as soon as something is so."""
    intruder.until(is_so)
    proxy.cut()


async def is_applied(party: Party, intruder: Intruder, write: Write) -> bool:
    """Return whether a write has taken effect; check that it has left a line exactly then."""
    applied: dict[Write, bool] = {
        keep_rules: (await party.storage.rules()).text == _RULES,
        keep_pauses: await party.storage.pauses() == paused("a"),
        drain: await party.shared.is_draining(),
        note_acts: bool(await party.storage.audit(None, 1)),
        remove_ended: (await party.everything())[0] == [],
    }
    assert intruder.value(_LINES) == int(applied[write])
    return applied[write]


async def losing(party: Party, write: Write, lose: Callable[[], object]) -> Any:  # noqa: ANN401
    """Return the answer to a write, or its error, while a thread lets the connection be lost."""
    answer: Any = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, lose)
        try:
            answer = await write(party)
        except EngineError as error:
            answer = error
    return answer


@each_write
async def test_an_answer_that_was_lost_is_found(
    write: Write, proxy_and_url: tuple[Proxy, str], intruder: Intruder
) -> None:
    proxy, url = proxy_and_url

    lose = partial(cut_when, proxy, intruder, lambda: intruder.value(_LINES))
    async with opened(url) as party:
        swallow_answer(proxy, write)
        assert await losing(party, write, lose) == ANSWERS[write]
        assert await is_applied(party, intruder, write)
        await party.apply(created("c"))


@each_write
async def test_what_never_arrives_is_not_applied(
    write: Write, proxy_and_url: tuple[Proxy, str], intruder: Intruder
) -> None:
    proxy, url = proxy_and_url

    lose = partial(cut_when, proxy, intruder, lambda: proxy.swallowed)
    async with opened(url) as party:
        proxy.swallow_requests()
        assert type(await losing(party, write, lose)) is StorageError
        assert not await is_applied(party, intruder, write)
        assert await write(party) == ANSWERS[write]
        assert await is_applied(party, intruder, write)


@each_write
async def test_what_is_under_way_when_its_connection_is_lost_is_never_applied(
    write: Write, postgres_url: str, intruder: Intruder
) -> None:
    """Who only looked would find nothing, and then it would be there."""
    async with opened(postgres_url) as party:
        intruder.take_order()
        lose = partial(intruder.cut_waiting, cast("PostgresStorage", party.storage))
        assert type(await losing(party, write, lose)) is StorageError
        intruder.give_order()
        await to_thread.run_sync(intruder.until, partial(is_idle, intruder))
        assert not await is_applied(party, intruder, write)
        assert await write(party) == ANSWERS[write]
        assert await is_applied(party, intruder, write)


def is_idle(intruder: Intruder) -> bool:
    """Return whether no other connection executes a statement."""
    return not intruder.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state = 'active' AND pid <> pg_backend_pid()"
    )


@pytest.mark.parametrize("applied", [True, False])
@each_write
async def test_what_can_not_be_found_out_is_told_so_and_found_out_by_the_next_call(
    write: Write, proxy_and_url: tuple[Proxy, str], intruder: Intruder, *, applied: bool
) -> None:
    proxy, url = proxy_and_url

    def lose() -> None:
        intruder.until(lambda: intruder.value(_LINES) if applied else proxy.swallowed)
        proxy.refuse()

    async with opened(url) as party:
        swallow_answer(proxy, write) if applied else proxy.swallow_requests()
        error = await losing(party, write, lose)
        assert isinstance(error, CommitUnknownError)
        with pytest.raises(StorageError):
            await party.storage.pauses()
        with pytest.raises(StorageError):
            await party.commit(created("c"))
        proxy.refuse(refuses=False)
        assert await is_applied(party, intruder, write) is applied
        if not applied:
            assert await write(party) == ANSWERS[write]
            assert await is_applied(party, intruder, write)
        await party.apply(created("c"))


async def test_an_answer_that_was_lost_may_be_a_refusal(
    proxy_and_url: tuple[Proxy, str], intruder: Intruder
) -> None:
    proxy, url = proxy_and_url
    async with opened(url) as party:
        number = intruder.value("SELECT max(number) FROM batches")
        await party.storage.keep_pauses(paused("b"), NO_PAUSES)

        lose = partial(
            cut_when,
            proxy,
            intruder,
            lambda: intruder.value("SELECT max(number) FROM batches") == number + 2,
        )
        swallow_answer(proxy, keep_pauses)
        assert await losing(party, keep_pauses, lose) is False
        assert await party.storage.pauses() == paused("b")
        assert intruder.value(_LINES) == 0


async def test_no_write_is_taken_for_one_before_it(
    proxy_and_url: tuple[Proxy, str], intruder: Intruder
) -> None:
    """The answer of the one before is kept until the next one."""
    proxy, url = proxy_and_url

    lose = partial(cut_when, proxy, intruder, lambda: proxy.swallowed)
    async with opened(url) as party:
        assert await keep_pauses(party)
        proxy.swallow_requests()
        lines = [_LINE._replace(action="resume")]
        resume = lambda party: party.storage.keep_pauses(NO_PAUSES, paused("a"), lines)  # noqa: E731
        assert type(await losing(party, resume, lose)) is StorageError
        assert await party.storage.pauses() == paused("a")
        assert intruder.value(_LINES) == 1


@each_write
async def test_what_a_failover_has_lost_is_not_known(
    write: Write, proxy_and_url: tuple[Proxy, str], intruder: Intruder
) -> None:
    proxy, url = proxy_and_url

    def lose() -> None:
        intruder.until(lambda: intruder.value(_LINES))
        intruder.run("UPDATE batches SET number = 0")
        proxy.cut()

    async with opened(url) as party:
        await party.apply(created("c"))
        swallow_answer(proxy, write)
        assert isinstance(await losing(party, write, lose), CommitUnknownError)
        with pytest.raises(CommitsLostError):
            await party.commit(created("d"))


async def test_a_lost_look_at_reserved_jobs_does_not_fence_a_pause(
    proxy_and_url: tuple[Proxy, str], intruder: Intruder
) -> None:
    """It takes the number of a batch, too."""
    proxy, url = proxy_and_url

    lose = partial(
        cut_when, proxy, intruder, lambda: intruder.value("SELECT max(number) FROM batches") == 2
    )
    async with opened(url) as party:
        proxy.swallow_from(b"held_1")
        assert type(await losing(party, lambda each: each.shared.held(), lose)) is StorageError
        assert await keep_pauses(party)
        assert await party.shared.held() == []


async def test_a_removal_without_a_line_is_found_too(
    proxy_and_url: tuple[Proxy, str], intruder: Intruder
) -> None:
    proxy, url = proxy_and_url
    async with opened(url) as party:
        proxy.swallow_from(b"take_number_1")

        lose = partial(
            cut_when, proxy, intruder, lambda: not intruder.value("SELECT count(*) FROM jobs")
        )

        async def remove(party: Party) -> list[str]:
            return sorted(await party.storage.remove_ended(None, 0, 9, None))

        assert await losing(party, remove, lose) == ["a", "b"]
        assert intruder.value(_LINES) == 0


@pytest.mark.thorough
async def test_nobody_waits_for_long_for_a_prune_that_stands_still(
    postgres_url: str, intruder: Intruder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine may be swapped out between the two statements of its removal."""
    stands, may_go_on = threading.Event(), threading.Event()

    def stand(line: AuditLine, removed: int) -> AuditLine:
        stands.set()
        may_go_on.wait()
        return removal_line(line, removed)

    monkeypatch.setattr(settled, "removal_line", stand)
    async with opened(postgres_url) as one, joined(PostgresStorage(postgres_url)) as two:
        try:
            async with anyio.create_task_group() as tasks:
                with anyio.fail_after(60):
                    tasks.start_soon(refused, one)
                    await to_thread.run_sync(stands.wait)
                    assert sorted(await two.storage.remove_ended(None, 0, 9, None)) == ["a", "b"]
                    may_go_on.set()
        finally:
            may_go_on.set()
    assert intruder.value(_LINES) == 0


async def refused(party: Party) -> None:
    with pytest.raises(StorageError, match="idle"):
        await remove_ended(party)
