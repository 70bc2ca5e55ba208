"""Overviews: the operations that tell how the kinds and the engines are doing."""

from __future__ import annotations

from enum import Enum, auto
from typing import Annotated, Any, Final

from msgspec import Meta

from engine.domain.exceptions import StorageError
from engine.domain.time_text import time_text
from engine.operations.fields import plain
from engine.operations.operation import Arguments, Operation
from engine.owner.commands.kinds import ReadEngines, count_kinds
from engine.owner.commands.pause import ReadPauses
from engine.owner.commands.throughput import CountThroughput, ReadThroughput
from engine.owner.core import Core
from engine.storage.overview import EngineRow, KindCounts

_OF_PAUSE: Final = ("at", "by", "reason")
_DAY_MINUTES: Final = 1_440
_COUNTING_MESSAGES: Final = 4
"""One call counts 20,000 transitions, in some 20 ms: who is further behind asks again."""


class Uncounted(Enum):
    """What is left to count after a look."""

    NONE = auto()
    MORE = auto()
    """The next look goes on."""
    STUCK = auto()
    """The storage can't write the counts."""


class OfOverview(Arguments, kw_only=True, frozen=True):
    """No arguments."""


class OfThroughput(Arguments, kw_only=True, frozen=True):
    """Periods of ``every`` so many minutes that make up ``minutes``, at least.

    The last one is the present one, which is not over, so they begin less than ``every`` minutes
    later than ``minutes`` ago.
    """

    minutes: Annotated[int, Meta(ge=1, le=_DAY_MINUTES)] = 60
    every: Annotated[int, Meta(ge=1, le=60)] = 1


async def _kinds(core: Core[Any], _: OfOverview, __: str | None) -> dict[str, Any]:
    pauses = (await core.ask(ReadPauses())).by_kind
    found = await core.converse(count_kinds())
    counts = {each.kind: each for each in found.kinds}
    kinds = [
        counts.get(kind, KindCounts(kind, 0, 0, 0, None)) for kind in sorted({*counts, *pauses})
    ]
    told = [{name: plain(value) for name, value in each._asdict().items()} for each in kinds]
    for each in told:
        paused = pauses.get(str(each["kind"]))
        each["paused"] = paused and {name: plain(getattr(paused, name)) for name in _OF_PAUSE}
    return {"kinds": told, "all_kinds_counted": found.are_all}


async def _engines(core: Core[Any], _: OfOverview, __: str | None) -> list[dict[str, Any]]:
    engines = await core.ask(ReadEngines())
    return [_fields(each, is_numbered=core.state.shared is not None) for each in engines]


def _fields(engine: EngineRow, *, is_numbered: bool) -> dict[str, Any]:
    return {
        "engine_id": engine.engine_id if is_numbered else None,
        "name": engine.name,
        "state": engine.state,
        "jobs": engine.jobs,
        "kinds": [*engine.kinds],
        "gates": [*engine.gates],
    }


async def _throughput(core: Core[Any], given: OfThroughput, _: str | None) -> dict[str, Any]:
    uncounted = await _count(core)
    periods = -(-given.minutes // given.every)
    lately = await core.ask(ReadThroughput(given.every, periods))
    return {
        "since": time_text(lately.periods.first),
        "until": time_text(lately.until),
        "every": given.every,
        "periods": [
            {"at": time_text(at), **happened._asdict()}
            for at, happened in lately.throughput.items()
        ],
        "all_counted": uncounted is Uncounted.NONE,
        "can_count": uncounted is not Uncounted.STUCK,
    }


async def _count(core: Core[Any]) -> Uncounted:
    """Count some of what is not counted yet; return what is left.

    A storage that can't write, such as on a full disk, leaves some uncounted: reads go on.
    """
    try:
        for _ in range(_COUNTING_MESSAGES):
            if not await core.ask(CountThroughput()):
                return Uncounted.NONE
    except StorageError:
        return Uncounted.STUCK
    return Uncounted.MORE


OVERVIEWS: Final[tuple[Operation[Any], ...]] = (
    Operation("kinds", "the live jobs of each kind, and the paused kinds", OfOverview, _kinds),
    Operation("engines", "the engines of a database, or the one engine", OfOverview, _engines),
    Operation("throughput", "how many jobs came and ended lately", OfThroughput, _throughput),
)
"""``kinds`` tells how many jobs of each are ``ready``, ``running`` and ``waiting``, since when the
oldest ready one is it, and whether the kind is ``paused``: ``at``, ``by`` and ``reason``.
``engines`` tells of an engine outside a database no number. ``throughput`` tells of each period
where something happened how many jobs were ``created``, ``succeeded``, ``failed`` or ``given_up``:
cancelled or expired, as far as their statuses say so; whether all are counted yet, and if not,
whether the storage can write more counts."""
