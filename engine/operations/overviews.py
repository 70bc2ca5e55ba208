"""Overviews: the operations that tell how the kinds and the engines are doing."""

from __future__ import annotations

from typing import Any, Final

from engine.operations.fields import plain
from engine.operations.operation import Arguments, Operation
from engine.owner.commands.kinds import ReadEngines, count_kinds
from engine.owner.commands.pause import ReadPauses
from engine.owner.core import Core
from engine.storage.overview import EngineRow, KindCounts


class OfOverview(Arguments, kw_only=True, frozen=True):
    """No arguments."""


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
        each["paused"] = paused and {name: plain(value) for name, value in paused if name != "kind"}
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
    }


OVERVIEWS: Final[tuple[Operation[Any], ...]] = (
    Operation("kinds", "the live jobs of each kind, and the paused kinds", OfOverview, _kinds),
    Operation("engines", "the engines of a database, or the one engine", OfOverview, _engines),
)
"""``kinds`` tells how many jobs of each are ``ready``, ``running`` and ``waiting``, since when the
oldest ready one is it, and whether the kind is ``paused``: ``at``, ``by`` and ``reason``.
``engines`` tells of an engine outside a database no number."""
