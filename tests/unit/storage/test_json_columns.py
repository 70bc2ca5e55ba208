"""Texts that others wrote are read without going to the limit of Python's recursion.

The garbage collector may run in the middle of reading. Where a reader has used up the recursion,
the finalizers that it calls fail, such as the one that lets go of a file.
"""

import gc
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from engine.storage.json_columns import execution_problem, json_problem
from engine.webhooks.incoming import Incoming, InvalidWebhookError

DEEP = "[" * 100_000


def _body() -> None:
    with pytest.raises(InvalidWebhookError):
        Incoming("id", datetime.now(UTC), DEEP.encode()).json()


READERS: dict[str, Callable[[], object]] = {
    "an input": lambda: json_problem("input", DEEP),
    "answers": lambda: execution_problem({"answers": DEEP}),
    "answers that are closed": lambda: json_problem("answers", "[" * 900 + "]" * 900),
    "a prompt": lambda: execution_problem({"prompt": f'{{"json_schema":{DEEP}'}),
    "a callback": _body,
}


def _levels(most: int) -> int:
    try:
        return 1 if most == 1 else 1 + _levels(most - 1)
    except RecursionError:
        return 0


@pytest.fixture
def least() -> Iterator[list[int]]:
    """Collect at nearly every allocation; returns the levels that were left then, up to 100."""
    left: list[int] = []
    collected = gc.get_threshold()
    callback = lambda *_: left.append(_levels(100))  # noqa: E731
    gc.callbacks.append(callback)
    gc.set_threshold(1)
    yield left
    gc.set_threshold(*collected)
    gc.callbacks.remove(callback)


@pytest.mark.parametrize("reader", READERS)
def test_deep_json_leaves_finalizers_their_room(reader: str, least: list[int]) -> None:
    READERS[reader]()
    gc.collect()
    assert min(least) == 100


def test_a_reader_to_the_limit_would_be_seen(least: list[int]) -> None:
    with pytest.raises(RecursionError):
        json.loads(DEEP)
    assert min(least) < 100
