"""Noting: lines of the audit for what an operator does beside all engines."""

from __future__ import annotations

from collections.abc import Mapping

from engine.control.peer import this_operator
from engine.operating.desks import core_at
from engine.owner.acts import acted
from engine.owner.commands.audit import NoteAct
from engine.storage.inspection import Place
from engine.storage.record import Act


async def note_at(
    place: Place, action: str, reason: str | None, arguments: Mapping[str, object]
) -> None:
    """Put an act of this operator, which changes no job, into the audit of a place.

    Args:
        place: A file that no engine has, or a database.
        action: The name of the act.
        reason: Why.
        arguments: What else belongs to it.

    Raises:
        StorageInUseError: An engine has the file.
        EngineError: It can't be noted.
    """
    noted = acted(action, Act(this_operator(), reason), arguments)
    async with core_at(place) as core:
        if noted is not None:
            await core.ask(NoteAct(noted))
