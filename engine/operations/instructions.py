"""Instructions: the operations that tell engines to leave jobs and gates alone, and not to."""

from __future__ import annotations

from typing import Any, Final

from engine.operations.operation import Arguments, Operation
from engine.owner.commands.pause import BeginPause, ChangePause, DrainEngine, EndPause
from engine.owner.core import Core


class OfPause(Arguments, kw_only=True, frozen=True):
    """A kind, or else the name of a gate."""

    kind: str | None = None
    gate: str | None = None
    reason: str | None = None


class OfDrain(Arguments, kw_only=True, frozen=True):
    """An engine of a database by its number; without one it is the engine that is asked."""

    engine_id: int | None = None
    undo: bool = False
    reason: str | None = None


async def _pause(core: Core[Any], given: OfPause, by: str | None) -> dict[str, Any]:
    return await _changed(core, BeginPause(given.kind, given.gate, by, given.reason))


async def _resume(core: Core[Any], given: OfPause, by: str | None) -> dict[str, Any]:
    return await _changed(core, EndPause(given.kind, given.gate, by, given.reason))


async def _changed(core: Core[Any], message: ChangePause) -> dict[str, Any]:
    return {**message.named, "changed": await core.ask(message)}


async def _drain(core: Core[Any], given: OfDrain, by: str | None) -> dict[str, Any]:
    await core.ask(DrainEngine(given.engine_id, undo=given.undo, by=by, reason=given.reason))
    return {"engine_id": given.engine_id, "draining": not given.undo}


INSTRUCTIONS: Final[tuple[Operation[Any], ...]] = (
    Operation(
        "pause", "let no engine claim jobs of a kind, or run a gate", OfPause, _pause, acts=True
    ),
    Operation(
        "resume",
        "let engines claim jobs of a kind, or run a gate, again",
        OfPause,
        _resume,
        acts=True,
    ),
    Operation("drain", "let an engine claim no more jobs", OfDrain, _drain, acts=True),
)
"""``pause`` and ``resume`` answer whether that has ``changed`` anything: nothing, if it was so."""
