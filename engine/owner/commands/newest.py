"""Read the number of the newest transition."""

from __future__ import annotations

from engine.owner.commands.command import Read
from engine.owner.sources import Sources


class ReadNewest(Read[int]):
    """Read the number of the newest transition; 0 before the first one."""

    __slots__ = ()

    async def read(self, sources: Sources) -> int:
        """See `Read.read`."""
        state = sources.state
        if state.shared is not None:
            state.last_sequence = await state.shared.newest_sequence()
        return state.last_sequence
