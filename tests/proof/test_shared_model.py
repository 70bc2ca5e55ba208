"""Two engines on one place answer as the model of one engine does.

The machine of `proof.comparison` calls them by turns. Each may close, and another one opens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis.stateful import rule

from engine import ORDER_LIFECYCLE, FollowUp, Storage
from engine.storage.postgres import PostgresStorage
from engine.storage.postgres.heartbeat import Heartbeat
from tests.postgres import Databases
from tests.tries import first_seed, report, rounds, thorough, tries

from .comparison import FACADES, Comparison, compare_with_the_model
from .machine import Call, opened
from .shared_storage import Place, PlainShared
from .storages import PlainStorage

EXAMPLES = 400
EXAMPLES_ON_A_DATABASE = 200
TO_BE_SEEN = (
    "restart",
    "replay",
    "DuplicateJobIdError",
    "held page",
    "first start",
    "repeated",
    "followed",
)
SETTINGS = hypothesis.settings(deadline=None, database=None, stateful_step_count=40)


class SharedComparison(Comparison):
    """A comparison of two engines, called by turns."""

    def new_storage(self) -> Storage:
        self.make_place()
        return self.storage()

    def make_place(self) -> None:
        self.place = Place()

    def storage(self) -> Storage:
        return PlainShared(self.place, len(self.place.engines))

    def another(self) -> Storage:
        return self.storage()

    def open(self, storage: Storage, follow_ups: Sequence[FollowUp[Any]] = ()) -> None:
        """Open two engines, of which the second knows only the rules that are kept."""
        super().open(storage, follow_ups)
        first, self._turns = self.call, 0
        self._second = opened(
            self.portal,
            storage=self.storage(),
            lifecycle=self.lifecycle,
            clock=lambda: self.now,
            new_id=self._new_id,
        )
        engines: list[Call] = [first, self._second.__enter__()]

        def call(name: str, *items: Any, **named: Any) -> Any:  # noqa: ANN401 - any call
            self._turns += 1
            return engines[self._turns % 2](name, *items, **named)

        self.call = call

    def close(self) -> None:
        self._second.__exit__(None, None, None)
        super().close()

    @rule()
    def restart(self) -> None:
        self.close()
        self.open(self.storage())
        self.seen["restart"] += 1


class DatabaseComparison(SharedComparison):
    """The same on a PostgreSQL database, whose clock is the test's."""

    databases: ClassVar[Databases]

    def make_place(self) -> None:
        self.url = self.databases.new()

    def storage(self) -> Storage:
        return PostgresStorage(self.url)

    def teardown(self) -> None:
        super().teardown()
        self.databases.drop(self.url)


class ForgetsTheOther(SharedComparison):
    """A machine of two engines that do not share their jobs."""

    def storage(self) -> Storage:
        return PlainStorage()


class ByOlderRules(PlainShared):
    """Applies transitions that were decided before others have changed the rules."""

    def has_older_rules(self) -> bool:
        return False


class DecidesByOlderRules(SharedComparison):
    """A machine of two engines that do not tell each other of rules."""

    def storage(self) -> Storage:
        return ByOlderRules(self.place, len(self.place.engines))


def check(facade: str, kind: type[SharedComparison], examples: int) -> None:
    settings = hypothesis.settings(SETTINGS, max_examples=tries(examples))
    seen = Counter[str]()
    for number in rounds():
        seen += compare_with_the_model(facade, ORDER_LIFECYCLE, settings, kind, number)
        report(f"{facade}, first seed {first_seed()}: {dict(seen)}")
        if min(seen[event] for event in TO_BE_SEEN) >= 3:
            break


@pytest.mark.parametrize("facade", [*FACADES[:1], *thorough(*FACADES[1:])])
def test_engines_on_one_place_answer_as_the_model_does(facade: str) -> None:
    check(facade, SharedComparison, EXAMPLES)


@pytest.mark.thorough
@pytest.mark.parametrize("facade", ["asyncio", "threads"])
def test_engines_on_one_database_answer_as_the_model_does(
    facade: str, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Heartbeat, "clock_offset", timedelta())
    monkeypatch.setattr(DatabaseComparison, "databases", databases, raising=False)
    check(facade, DatabaseComparison, EXAMPLES_ON_A_DATABASE)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [ForgetsTheOther, DecidesByOlderRules])
def test_engines_that_do_not_share_are_found(kind: type[SharedComparison]) -> None:
    settings = hypothesis.settings(
        SETTINGS, phases=[hypothesis.Phase.generate], report_multiple_bugs=False
    )
    with pytest.raises(AssertionError):
        compare_with_the_model("threads", ORDER_LIFECYCLE, settings, kind)
