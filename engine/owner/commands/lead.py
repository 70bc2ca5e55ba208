"""Lead: be the one engine of a shared storage that does something."""

from __future__ import annotations

from engine.owner.commands.command import Read
from engine.owner.sources import Sources


class Lead(Read[bool]):
    """Ask to be the one engine that does what has a name, or to be it no more.

    The answer is whether this engine is it: the first one that has asked and lives. An engine with
    a private storage always is.

    Attributes:
        name: Of what is done.
        resigns: Whether another engine may lead from now on.
    """

    __slots__ = ("name", "resigns")

    def __init__(self, name: str, *, resigns: bool = False) -> None:
        super().__init__()
        self.name = name
        self.resigns = resigns

    async def read(self, sources: Sources) -> bool:
        """See `Read.read`."""
        shared = sources.state.shared
        if shared is None:
            return not self.resigns
        if self.resigns:
            await shared.resign(self.name)
            return False
        return await shared.lead(self.name)
