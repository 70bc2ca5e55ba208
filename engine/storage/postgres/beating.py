"""The heartbeat's thread: beats, looks after the other engines, hears and gives hints.

An engine lives by its beats. The others watch them change, each by its own monotonic clock, and
declare an engine dead that was silent for too long (`Silence`). A dead engine's jobs are freed,
some at a time, by whoever sees it, and its row goes when it has none left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Final

import psycopg

from engine.domain.exceptions import LeaseLostError, StorageError
from engine.portal.doorbell import Doorbell
from engine.portal.logs import TaskLogger
from engine.storage.postgres.beat_connection import BeatConnection, Connect
from engine.storage.postgres.held_snapshots import HeldSnapshots
from engine.storage.postgres.instructions import GIVEN
from engine.storage.postgres.schema import quoted
from engine.storage.postgres.silence import Living, Silence

logger = TaskLogger("engine")

BEATS_PER_LEASE: Final = 5
_MOST_BEATS_LATE: Final = 2  # leaves time to connect anew within the lease
_RARELY_BEATS: Final = 10
_FREED_AT_ONCE: Final = 200
_HINT_SECONDS: Final = 0.005
_TEST_SECONDS: Final = 0.5  # of waiting for a notification of one's own, and a beat's time at most
_FIRST_PAUSE_SECONDS: Final = 0.05

_STATEMENTS: Final = {
    "channel": "SELECT 'engine_' || oid FROM pg_namespace WHERE nspname = $1",
    "beat": "SELECT alive, extract(epoch FROM now), instructions FROM {schema}.beat_1($1::bigint, "
    "ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))",
    "look": "SELECT engine_id, beats, lease_seconds, dead FROM {schema}.engines "
    "WHERE engine_id <> $1::bigint",
    "declare": "SELECT {schema}.declare_1($1::bigint, $2::bigint)",
    "leave": "SELECT {schema}.declare_1(engine_id, beats) FROM {schema}.engines "
    "WHERE engine_id = $1::bigint",
    "free": "SELECT {schema}.free_1($1::bigint, $2::bigint)",
    "forget": "DELETE FROM {schema}.batches WHERE engine_id = $1::bigint",
    "notify": "SELECT pg_notify($1, $2)",
}


def statements_in(schema: str) -> Mapping[str, str]:
    """Return the statements for a schema, by their names."""
    return {name: text.format(schema=quoted(schema)) for name, text in _STATEMENTS.items()}


class Beating:
    """Keeps one engine alive, on a thread that does nothing else.

    Other threads set `told` and `kinds` and call `close`, ring the doorbell if it is urgent, and
    read the other attributes.

    Args:
        engine_id: The engine.
        storage: The storage's name for errors, without a password.
        schema: The schema's name, not quoted.
        lease_seconds: How long this engine may be silent.
        connect: Opens a connection.
        bell: Wakes the thread.
        hint: Called when another engine may have changed something, and at the first beat.
        check_loop: Called with each beat. Ends the beating, by `close`, if nobody needs it.
    """

    def __init__(
        self,
        engine_id: int,
        storage: str,
        schema: str,
        lease_seconds: float,
        connect: Connect,
        bell: Doorbell,
        hint: Callable[[], object],
        check_loop: Callable[[], object],
    ) -> None:
        self._engine_id = engine_id
        self._storage = storage
        self._schema = schema
        self._beat_seconds = lease_seconds / BEATS_PER_LEASE
        self._connect = connect
        self._bell = bell
        self._hint = hint
        self._check_loop = check_loop
        self._statements = statements_in(schema)
        self._ends_at = float("inf")
        self._pause_seconds = 0.0
        self._silence = Silence(lease_seconds)
        self._snapshots = HeldSnapshots()
        self._beats = 0
        self._next_hint_at = 0.0
        self._is_tested = True
        self.has_begun = False
        self.listens = False
        self.clock_offset = timedelta()
        self.instructions: str | None = None
        self.kinds: Collection[str] = ()
        self.has_others = False
        self.told = False

    def close(self, ends_at: float) -> None:
        """Let the engine leave: no call takes longer than until this monotonic time."""
        self._ends_at = ends_at

    @property
    def _is_closed(self) -> bool:
        return self._ends_at != float("inf")

    def run(self) -> None:
        """Beat until it is closed; connect anew whenever the connection is lost.

        Raises:
            LeaseLostError: The other engines take this one for dead.
            StorageError: There was no connection to begin with.
        """
        while not self._is_closed:
            try:
                with self._open() as connection:
                    self._serve(connection)
            except psycopg.Error as error:
                if not self.has_begun:
                    raise StorageError(f"{self._storage} does not take a heartbeat: {error}") from (
                        error
                    )
                self.listens = False
                self._report(error)
                self._pause()

    def _open(self) -> BeatConnection:
        call_seconds = _MOST_BEATS_LATE * self._beat_seconds
        return BeatConnection(self._connect, self._bell, call_seconds, lambda: self._ends_at)

    def _report(self, error: psycopg.Error) -> None:
        if not self._pause_seconds and not self._is_closed:
            logger.warning(
                "the heartbeat's connection to %s is lost, and is made anew: %s",
                self._storage,
                error,
            )

    def _pause(self) -> None:
        until = time.monotonic() + self._pause_seconds
        while not self._is_closed and (left := until - time.monotonic()) > 0:
            self._bell.wait(left)
        self._pause_seconds = min(
            max(2 * self._pause_seconds, _FIRST_PAUSE_SECONDS), self._beat_seconds
        )

    def _serve(self, connection: BeatConnection) -> None:
        """Beat on one connection until the engine is closed."""
        self._dead: list[int] = []
        self._beat(connection)
        self._listen(connection)
        self.has_begun = True
        self._hint()  # there may have been news during an outage
        while not self._is_closed:
            if time.monotonic() >= self._next_beat_at:
                self._beat(connection)
                self._pause_seconds = 0.0  # not before: the connection is good for two beats
                self._do_rarely(connection)
            self._free_some(connection)
            self._give_hint(connection)
            self._hear(connection)
            connection.wait(self._next_at() - time.monotonic())
        self._leave(connection)

    def _next_at(self) -> float:
        if self._dead or self._is_closed:
            return 0
        return min(self._next_beat_at, self._next_hint_at) if self.told else self._next_beat_at

    def _beat(self, connection: BeatConnection) -> None:
        began, here = time.monotonic(), time.time()
        [(alive, there, instructions)] = connection.call(
            self._statements["beat"], self._engine_id, json.dumps(list(self.kinds))
        )
        if alive != "t":
            raise LeaseLostError(self._storage)
        halfway = here + (time.monotonic() - began) / 2
        self.clock_offset = timedelta(seconds=float(there or 0) - halfway)
        self._next_beat_at = began + self._beat_seconds
        if instructions != self.instructions:
            self.instructions = instructions
            self._hint()
        self._check_loop()
        self._look(connection)

    def _do_rarely(self, connection: BeatConnection) -> None:
        """Do what is due only every ten beats."""
        self._beats += 1
        if self._beats % _RARELY_BEATS == 0:
            self._snapshots.look(connection)
            if not self._is_tested:
                self._test(connection)

    def _look(self, connection: BeatConnection) -> None:
        """Look after the other engines: declare the silent ones dead."""
        began = time.monotonic()
        rows = connection.call(self._statements["look"], self._engine_id)
        living = {
            int(each or 0): Living(int(beats or 0), float(lease_seconds or 0))
            for each, beats, lease_seconds, dead in rows
            if dead != "t"
        }
        self._dead = [int(each or 0) for each, _, _, dead in rows if dead == "t"]
        for silent in self._silence.look(began, time.monotonic(), living):
            self._declare(connection, silent, living[silent])
        self.has_others = len(living) > 0

    def _declare(self, connection: BeatConnection, silent: int, seen: Living) -> None:
        """Declare an engine dead, unless it has beaten since it was seen."""
        [(declared,)] = connection.call(self._statements["declare"], silent, seen.beats)
        if declared == "t":
            self._dead.append(silent)
            logger.warning(
                "engine %s on %s gave no sign of life for %g s: its jobs are free",
                silent,
                self._storage,
                self._silence.allowed_seconds(seen),
            )

    def _free_some(self, connection: BeatConnection) -> None:
        """Free some jobs of one dead engine; with the last one the engine's row goes."""
        if self._dead and not self._free(connection, self._dead[-1]):
            self._dead.pop()

    def _free(self, connection: BeatConnection, engine_id: int) -> bool:
        """Free some jobs of a dead engine; return whether it had any."""
        [(freed,)] = connection.call(self._statements["free"], engine_id, _FREED_AT_ONCE)
        if freed == "0":
            return False
        self._hint()
        self.told = True
        return True

    def _listen(self, connection: BeatConnection) -> None:
        """Ask for notifications, and find out whether they come."""
        [(self._channel,)] = connection.call(self._statements["channel"], self._schema)
        connection.call(f"LISTEN {self._channel}")
        self._test(connection)

    def _test(self, connection: BeatConnection) -> None:
        """Find out whether notifications come.

        Behind a pooler in transaction mode they don't, and it reports no error. The test comes from
        another connection: one of this connection's own might still pass.
        """
        self.listens = False
        try:
            with self._open() as other:
                other.call(self._statements["notify"], self._channel, self._engine_id)
        except psycopg.Error as error:
            self._report_untested(error)
            return
        self._is_tested = True
        until = time.monotonic() + min(_TEST_SECONDS, self._beat_seconds)
        while not self._is_closed and not self.listens and (left := until - time.monotonic()) > 0:
            self.listens = str(self._engine_id) in connection.take_notifications()
            connection.wait(0 if self.listens else left)

    def _report_untested(self, error: psycopg.Error) -> None:
        if self._is_tested and not self._is_closed:
            logger.warning(
                "the engine polls %s, because it has no second connection for a moment, to find "
                "out whether notifications come: %s",
                self._storage,
                error,
            )
        self._is_tested = False

    def _give_hint(self, connection: BeatConnection) -> None:
        """Tell the other engines that something may have changed: at most once each 5 ms."""
        if self.told and time.monotonic() >= self._next_hint_at:
            self.told = False
            connection.call(self._statements["notify"], self._channel, self._engine_id)
            self._next_hint_at = time.monotonic() + _HINT_SECONDS

    def _hear(self, connection: BeatConnection) -> None:
        if heard := set(connection.take_notifications()) - {str(self._engine_id)}:
            self.has_others = True  # one may have joined since the last look
            self._hint()
            if GIVEN in heard:
                self._next_beat_at = 0.0

    def _leave(self, connection: BeatConnection) -> None:
        """Take the engine's leave: free what it has left, and leave no row behind."""
        connection.call(self._statements["leave"], self._engine_id)
        while self._free(connection, self._engine_id):
            pass
        connection.call(self._statements["forget"], self._engine_id)
        self._next_hint_at = 0
        self._give_hint(connection)
