"""Instructions: the operations that tell engines to leave jobs alone, and not to."""

from __future__ import annotations

from typing import Any, Final

from engine.operations.operation import Arguments, Operation
from engine.owner.commands.pause import ChangePause, DrainEngine, PauseKind, ResumeKind
from engine.owner.core import Core


class OfKind(Arguments, kw_only=True, frozen=True):
    """A kind."""

    kind: str
    reason: str | None = None


class OfDrain(Arguments, kw_only=True, frozen=True):
    """An engine of a database by its number; without one it is the engine that is asked."""

    engine_id: int | None = None
    undo: bool = False
    reason: str | None = None


async def _pause(core: Core[Any], given: OfKind, by: str | None) -> dict[str, Any]:
    return await _changed(core, PauseKind(given.kind, by, given.reason))


async def _resume(core: Core[Any], given: OfKind, by: str | None) -> dict[str, Any]:
    return await _changed(core, ResumeKind(given.kind, by, given.reason))


async def _changed(core: Core[Any], message: ChangePause) -> dict[str, Any]:
    return {"kind": message.kind, "changed": await core.ask(message)}


async def _drain(core: Core[Any], given: OfDrain, by: str | None) -> dict[str, Any]:
    await core.ask(DrainEngine(given.engine_id, undo=given.undo, by=by, reason=given.reason))
    return {"engine_id": given.engine_id, "draining": not given.undo}


INSTRUCTIONS: Final[tuple[Operation[Any], ...]] = (
    Operation("pause", "let no engine claim jobs of a kind", OfKind, _pause, acts=True),
    Operation("resume", "let engines claim jobs of a kind again", OfKind, _resume, acts=True),
    Operation("drain", "let an engine claim no more jobs", OfDrain, _drain, acts=True),
)
"""``pause`` and ``resume`` answer whether that has ``changed`` anything."""
