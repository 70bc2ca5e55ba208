"""The heartbeat over a real server: who lives, who is dead, and who hears of it."""

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import chain, repeat
from urllib.parse import urlsplit, urlunsplit

import anyio
import psycopg
import pytest

from engine.domain.exceptions import EngineForkedError, LeaseLostError, StorageError
from engine.storage.postgres import beating as beating_thread
from engine.storage.postgres import heartbeat as heartbeat_of_an_engine
from engine.storage.postgres import held_snapshots
from engine.storage.postgres.beat_connection import Connection
from tests.pooler import needs_pgbouncer, pooled
from tests.postgres import Databases, started_cluster
from tests.proxy import proxied
from tests.systems import needs_fork
from tests.tries import thorough
from tests.unit.storage.postgres.beats import (
    LEASE_SECONDS,
    LONG_LEASE_SECONDS,
    SECONDS,
    Place,
    beating,
    connect_to,
    heartbeat_at,
    join_threads,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(postgres_url: str) -> Iterator[Place]:
    place = Place(postgres_url)
    yield place
    join_threads()
    place.close()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an engine take its time to leave."""
    for limit in ("_LEAVE_SECONDS", "_CLOSE_SECONDS"):
        monkeypatch.setattr(heartbeat_of_an_engine, limit, SECONDS)


@pytest.mark.thorough
@pytest.mark.usefixtures("unhurried")
async def test_engines_that_beat_live_on_and_leave_nothing_behind(place: Place) -> None:
    beats = partial(beating, place, allowed_seconds=LEASE_SECONDS)
    async with beats() as one, beats() as two:
        for each in (one, two):
            await place.until_beaten(each.engine_id, 4)  # both together, more than a lease
        assert place.engines() == {one.engine_id: False, two.engine_id: False}
    join_threads()
    assert place.engines() == {}
    assert place.rows("SELECT * FROM engine.batches") == []


async def test_a_silent_engine_is_declared_dead_and_learns_it(place: Place) -> None:
    async with beating(place) as one, beating(place, allowed_seconds=LEASE_SECONDS) as two:
        await place.until_beaten(one.engine_id)
        with two.held():
            await place.until_gone(two.engine_id)
        for _ in range(2):  # as often as it is asked
            with pytest.raises(LeaseLostError, match="the test's database took this one for dead"):
                await two.until_lost()
        assert place.engines() == {one.engine_id: False}


@pytest.mark.thorough
async def test_an_engine_is_silent_for_its_own_lease_and_no_longer(place: Place) -> None:
    async with beating(place) as one:
        slow = place.join(LONG_LEASE_SECONDS)
        silent = place.join()
        await place.until_gone(silent)
        assert place.engines() == {one.engine_id: False, slow: False}
        place.rows("UPDATE engine.engines SET lease_seconds = 1 WHERE engine_id = %s", slow)
        await place.until_gone(slow)


@pytest.mark.thorough
async def test_an_engine_that_was_held_itself_declares_nobody_dead(place: Place) -> None:
    async with beating(place) as one:
        silent = place.join()
        await place.until_beaten(one.engine_id)
        with one.held():
            await anyio.sleep(1.5 * LEASE_SECONDS)  # a time to pass, not an order
            beats = place.beats(one.engine_id)
        await place.until_gone(silent)
        assert place.beats(one.engine_id) >= beats + 5  # a lease more


_FREE = "SELECT count(*) FROM engine.jobs WHERE ready AND holder IS NULL AND token = 'dead 450'"


async def test_the_jobs_of_a_dead_engine_are_free_and_others_are_told(place: Place) -> None:
    async with beating(place) as one, beating(place, lease_seconds=LONG_LEASE_SECONDS) as two:
        silent = place.join()
        place.add_jobs(silent, 450)
        await two.forget_news()
        await place.until_gone(silent)
        assert place.row(_FREE) == (450,)
        await two.until_news()
        await one.until_news()


async def test_jobs_are_freed_on_if_the_engine_that_freed_them_has_died(place: Place) -> None:
    silent = place.join()
    place.add_jobs(silent, 450)
    place.rows("SELECT engine.declare_1(%s, 0), engine.free_1(%s, 200)", silent, silent)
    async with beating(place):
        await place.until_gone(silent)
    assert place.row(_FREE) == (450,)


@pytest.mark.thorough
@pytest.mark.usefixtures("unhurried")
async def test_an_engine_that_leaves_has_its_own_jobs_freed(place: Place) -> None:
    async with beating(place) as one, beating(place) as two:
        await place.until_beaten(two.engine_id)
        place.add_jobs(two.engine_id, 450)
        await one.forget_news()
        await two.heartbeat.aclose()
        assert place.row(_FREE) == (450,)
        assert place.engines() == {one.engine_id: False}
        await one.until_news()


@pytest.mark.thorough
async def test_an_outage_kills_nobody() -> None:
    with started_cluster() as cluster:
        place = Place(Databases(cluster.url).new())
        beats = partial(beating, place, allowed_seconds=LEASE_SECONDS)
        async with beats() as one, beats() as two:
            await place.until_beaten(one.engine_id)
            place.close()
            await anyio.to_thread.run_sync(cluster.stop)
            await anyio.sleep(1.5 * LEASE_SECONDS)  # a time to pass, not an order
            await anyio.to_thread.run_sync(cluster.start)
            place = Place(place.url)
            for each in (one, two):
                await place.until_beaten(each.engine_id, 7)  # more than a lease
            assert place.engines() == {one.engine_id: False, two.engine_id: False}
        place.close()


@pytest.mark.thorough
async def test_a_lost_connection_is_made_anew(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with beating(place) as one, beating(place) as two:
        killed = place.row(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'a heartbeat'"
        )
        assert killed >= (2,)  # more, if one has not gone that is closed
        for each in (one, two):
            await place.until_beaten(each.engine_id)
        await one.forget_news()
        two.heartbeat.tell()
        await one.until_news()
    assert caplog.text.count("the heartbeat's connection to the test's database is lost") == 2


@pytest.mark.thorough
async def test_a_server_that_does_not_answer_is_left_and_tried_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with proxied(place.url) as (proxy, url):
        async with beating(place, url) as one:
            proxy.passes.clear()
            await until(lambda: "the server did not answer in time" in caplog.text)
            proxy.passes.set()
            await place.until_beaten(one.engine_id)


async def test_a_hint_reaches_the_other_engines_and_not_oneself(place: Place) -> None:
    async with beating(place, lease_seconds=LONG_LEASE_SECONDS) as one, beating(place) as two:
        await place.until_beaten(two.engine_id)
        assert one.heartbeat.listens
        await one.forget_news()
        await two.forget_news()
        place.listen()
        two.heartbeat.tell()
        await one.until_news()
        await place.until_beaten(two.engine_id)
        assert not two.heartbeat._news.is_set()  # noqa: SLF001
        assert place.heard == [str(two.engine_id)]


@pytest.mark.thorough
async def test_a_hint_that_nobody_waited_for_ends_the_next_wait(place: Place) -> None:
    async with beating(place) as one, beating(place) as two:
        await place.until_beaten(one.engine_id)
        await two.forget_news()
        place.listen()
        one.heartbeat.tell()
        await place.until_beaten(two.engine_id)
        assert place.heard == [str(one.engine_id)]
        await two.until_news()


async def test_the_owner_wakes_a_wait_or_ends_the_next_one(place: Place) -> None:
    async with beating(place, lease_seconds=LONG_LEASE_SECONDS) as one:
        await one.forget_news()
        one.heartbeat.wake()
        await one.until_news()
        async with anyio.create_task_group() as group:
            group.start_soon(one.until_news)
            await anyio.wait_all_tasks_blocked()
            one.heartbeat.wake()


async def test_an_engine_hears_of_one_that_joins_before_it_looks(place: Place) -> None:
    async with beating(place, lease_seconds=LONG_LEASE_SECONDS) as one:
        await one.forget_news()
        async with beating(place, lease_seconds=LONG_LEASE_SECONDS) as two:
            await one.until_news()
            await two.forget_news()
            one.heartbeat.tell()
            await two.until_news()


@pytest.mark.thorough
async def test_the_first_word_is_a_hint_at_once_and_later_ones_wait_together(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beating_thread, "_HINT_SECONDS", LONG_LEASE_SECONDS)
    async with beating(place) as one, beating(place):
        await place.until_beaten(one.engine_id)
        place.listen()
        for _ in range(3):
            one.heartbeat.tell()
            await place.until_beaten(one.engine_id)
        assert place.heard == [str(one.engine_id)]


@pytest.mark.thorough
async def test_words_go_on_to_become_hints(place: Place) -> None:
    async with beating(place) as one, beating(place):
        await place.until_beaten(one.engine_id)
        place.listen()
        while len(place.heard) < 3:
            one.heartbeat.tell()
            place.rows("SELECT")


@pytest.mark.thorough
async def test_an_engine_alone_gives_no_hint(place: Place) -> None:
    silent = place.join()
    async with beating(place) as one:
        await place.until_gone(silent)
        await place.until_beaten(one.engine_id)
        place.listen()
        one.heartbeat.tell()
        await place.until_beaten(one.engine_id)
        assert place.heard == []


@pytest.mark.thorough
async def test_where_no_notification_arrives_news_come_by_the_time(
    place: Place, databases: Databases
) -> None:
    """A connection to another database stands for a pooler: what it sends doesn't arrive."""
    elsewhere = databases.new(empty=True)
    ways = chain([connect_to(place.url)], repeat(connect_to(elsewhere)))

    def connect() -> Connection:
        return next(ways)()

    async with beating(place, connect=connect) as one:
        assert not one.heartbeat.listens
        await one.forget_news()
        await one.heartbeat.news(0.01)
    databases.drop(elsewhere)


@pytest.mark.thorough
async def test_without_another_connection_it_polls_and_keeps_the_one_it_has(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the limit of connections is reached."""
    monkeypatch.setattr(beating_thread, "_RARELY_BEATS", 1)
    is_refused = True
    opened: list[Connection] = []

    def connect() -> Connection:
        if opened and is_refused:
            raise psycopg.OperationalError("too many connections")
        opened.append(connect_to(place.url)())
        return opened[-1]

    async with beating(place, connect=connect) as one:
        await place.until_beaten(one.engine_id, 1)
        assert not one.heartbeat.listens
        assert len(opened) == 1
        is_refused = False
        await until(lambda: one.heartbeat.listens)
        assert len(opened) == 2
    assert caplog.text.count("too many connections") == 1


@pytest.mark.thorough
async def test_a_connection_that_is_lost_at_once_is_made_anew_after_longer_and_longer_pauses(
    place: Place,
) -> None:
    dead = place.join()
    place.rows("UPDATE engine.engines SET dead = true")
    place.rows("ALTER FUNCTION engine.free_1 RENAME TO true_free")
    async with beating(place) as one:
        beats = one.heartbeat._beating  # noqa: SLF001 - it tells nobody
        await until(lambda: beats._pause_seconds == LEASE_SECONDS / 5)  # noqa: SLF001
        assert not one.heartbeat.listens
        place.rows("ALTER FUNCTION engine.true_free RENAME TO free_1")
        await place.until_gone(dead)
        await until(lambda: one.heartbeat.listens and not beats._pause_seconds)  # noqa: SLF001


@pytest.mark.thorough
@needs_pgbouncer
async def test_behind_a_pooler_in_transaction_mode_it_beats_polls_and_gives_hints(
    place: Place,
) -> None:
    """There, a connection hears a hint of its own, and none of others: the test must see that."""
    with pooled(place.url) as url:
        async with beating(place, url) as one, beating(place) as two:
            assert not one.heartbeat.listens
            for each in (one, two):
                await place.until_beaten(each.engine_id, 7)
            await two.forget_news()
            one.heartbeat.tell()
            await two.until_news()


async def test_the_kinds_are_published_with_a_beat(place: Place) -> None:
    async with beating(place) as one:
        one.heartbeat.handles({"drawing", 'a "quoted", näme'})
        await place.until(
            "SELECT kinds @> %s AND kinds <@ %s FROM engine.engines",
            *[["drawing", 'a "quoted", näme']] * 2,
        )


async def test_the_server_s_clock_is_measured(place: Place) -> None:
    place.rows("ALTER FUNCTION engine.beat_1 RENAME TO true_beat")
    place.rows(
        "CREATE FUNCTION engine.beat_1(bigint, text[], "
        "OUT alive boolean, OUT now timestamptz, OUT instructions text) LANGUAGE sql AS "
        "$$ SELECT alive, now + interval '1 hour', '' FROM engine.true_beat($1, $2) $$"
    )
    async with beating(place) as one:
        off = one.heartbeat.clock_offset - timedelta(hours=1)
        assert abs(off) < timedelta(seconds=LEASE_SECONDS)  # a call takes no longer


async def test_an_opening_without_a_server_is_a_typed_error(place: Place) -> None:
    with proxied(place.url) as (proxy, url):
        proxy.refuse()
        heartbeat = heartbeat_at(url)
        with pytest.raises(StorageError, match="the test's database does not take a heartbeat"):
            await heartbeat.start(place.join())
        await heartbeat.aclose()


async def test_an_engine_that_is_dead_before_its_first_beat_learns_it(place: Place) -> None:
    engine_id = place.join()
    place.rows("SELECT engine.declare_1(%s, 0)", engine_id)
    heartbeat = heartbeat_at(place.url)
    with pytest.raises(LeaseLostError):
        await heartbeat.start(engine_id)
    await heartbeat.aclose()


@pytest.mark.thorough
async def test_a_bug_of_the_thread_is_raised_where_news_is_awaited(place: Place) -> None:
    async with beating(place) as one:
        place.rows("ALTER FUNCTION engine.beat_1 RENAME TO true_beat")
        place.rows(
            "CREATE FUNCTION engine.beat_1(bigint, text[], OUT alive text, OUT now timestamptz, "
            "OUT instructions text) LANGUAGE sql AS $$ SELECT 't', timestamptz 'infinity', '' $$"
        )
        with pytest.raises(OverflowError):
            await one.until_lost()


@pytest.mark.thorough
@pytest.mark.parametrize("fault", ["hangs in a call", *thorough("refuses", "hangs in an opening")])
async def test_it_closes_while_the_server_is_away(
    place: Place, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    lease_seconds = LONG_LEASE_SECONDS if fault == "hangs in a call" else LEASE_SECONDS
    with proxied(place.url) as (proxy, url), anyio.fail_after(SECONDS):
        place.join()
        async with beating(place, url, lease_seconds) as one:
            match fault:
                case "refuses":
                    proxy.refuse()
                    await until(lambda: caplog.records)
                case "hangs in a call":
                    proxy.passes.clear()
                    one.heartbeat.tell()
                case _:
                    proxy.passes.clear()
                    await until(lambda: caplog.records)
        if fault != "hangs in an opening":  # which ends after 2 s
            join_threads()


@pytest.mark.thorough
@pytest.mark.usefixtures("unhurried")
async def test_it_ends_with_its_event_loop(place: Place, anyio_backend: str) -> None:
    async def main() -> None:
        await heartbeat_at(place.url).start(place.join())

    thread = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": anyio_backend})
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    join_threads()
    assert place.engines() == {}


@pytest.mark.thorough
@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_forked_child_does_not_use_it(place: Place) -> None:
    async with beating(place) as one, beating(place) as two:
        await place.until_beaten(one.engine_id)
        if (child := os.fork()) == 0:
            try:
                one.heartbeat.tell()
            except EngineForkedError:
                os._exit(7)
            os._exit(1)
        status = await anyio.to_thread.run_sync(lambda: os.waitpid(child, 0)[1])
        assert os.waitstatus_to_exitcode(status) == 7
        await two.forget_news()
        one.heartbeat.tell()
        await two.until_news()


@pytest.fixture
def plain_url(place: Place) -> Iterator[str]:
    """The URL for a role that owns nothing, and may see nothing of other roles' transactions."""
    role = f"plain_{os.getpid()}"
    place.rows(f"CREATE ROLE {role} LOGIN")
    place.rows(f"GRANT USAGE ON SCHEMA engine TO {role}")
    place.rows(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA engine TO {role}")
    parts = urlsplit(place.url)
    netloc = f"{role}@{parts.netloc.rpartition('@')[2]}"
    yield urlunsplit(parts._replace(netloc=netloc))
    place.rows(f"DROP OWNED BY {role}")
    place.rows(f"DROP ROLE {role}")


@pytest.mark.thorough
async def test_a_transaction_that_stays_open_is_warned_of_once(
    place: Place,
    plain_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(held_snapshots, "_HELD_SECONDS", 0.0)
    with psycopg.connect(place.url) as holder:
        holder.execute("SELECT txid_current()")
        async with beating(place, plain_url, lease_seconds=0.2) as one:
            await place.until_beaten(one.engine_id, 50)
        process_id = holder.info.backend_pid
    told = [each.getMessage() for each in caplog.records]
    [warning] = [each for each in told if "keeps a transaction open" in each]  # a beat may be late
    assert f"process {process_id} of the database server" in warning
