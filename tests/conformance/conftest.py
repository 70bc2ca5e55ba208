"""The tests of the suite that wait for the thorough tier over all storages but the one in memory.

They take long over a file or a server, and smaller ones see the same kinds of fault there.
"""

from typing import Final

import pytest

from engine.testing import StorageSuite
from tests.conftest import search

LARGE: Final = {
    "test_a_job_that_is_too_large_by_itself_is_on_a_page_of_its_own",
    "test_a_page_of_some_jobs_ends_before_it_holds_too_much",
    "test_executions_are_kept_as_they_are",
    "test_inputs_are_kept_through_every_change",
    "test_jobs_are_checked_out_in_parts",
    "test_large_batches",
    "test_large_batches_of_executions",
    "test_many_transitions_are_counted_in_steps",
    "test_origins_are_kept_through_every_change",
    "test_what_is_removed_is_not_found_by_its_labels",
}
ONE_OF: Final = {
    "test_a_page_ends_before_it_holds_too_much": 1,
    "test_every_long_text_counts": "answers",
    "test_follow_ups_count": 5,
    "test_no_family_is_divided_by_a_limit": 2,
}
"""The value of a test's own parameter that does not wait."""
ON_POSTGRES: Final = {
    "test_a_new_storage_is_empty",
    "test_a_payment_may_come_later",
    "test_an_id_of_an_ended_job_is_taken",
    "test_kinds_and_labels_are_kept_as_they_are",
}
"""Those that do not wait over a server, where each takes a database of its own."""

SEARCHED_OF_MANY: Final = 1_000


@pytest.fixture
def short_searches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches end after a few rows, and those among 10,000 jobs after a tenth of these.

    Three at a time would take thousands of statements for every page and count.
    """
    is_large = request.node.originalname.startswith("test_large_batches")
    search(monkeypatch, rows=SEARCHED_OF_MANY if is_large else 3)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and (waits(item) or waits_on_postgres(item)):
            item.add_marker(pytest.mark.thorough)


def waits(test: pytest.Function) -> bool:
    suite, name = test.cls, test.originalname
    if (
        suite is None
        or not issubclass(suite, StorageSuite)
        or suite.__name__.endswith("MemoryStorage")
    ):
        return False
    return name in LARGE or (name in ONE_OF and ONE_OF[name] not in test.callspec.params.values())


def waits_on_postgres(test: pytest.Function) -> bool:
    if test.cls is None or test.cls.__name__ != "TestPostgresStorage":
        return False
    return test.originalname not in ON_POSTGRES
