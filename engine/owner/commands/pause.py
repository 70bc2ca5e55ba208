"""Pause and resume kinds and gates, and drain an engine: what engines are to leave alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.domain.exceptions import (
    InvalidValueError,
    StorageDamagedError,
    shown,
)
from engine.domain.labels import check_kind
from engine.domain.models import Pause
from engine.domain.pauses import Pauses
from engine.domain.validation import (
    MAX_IDENTIFIER_CHARACTERS,
    check_flag,
    check_integer,
    check_text,
)
from engine.owner.acts import acted, checked_act
from engine.owner.commands.audit import lines_of, time_in
from engine.owner.commands.command import Read
from engine.owner.doubts import doubted, take_pauses
from engine.owner.sources import Sources
from engine.portal.logs import TaskLogger
from engine.storage.audit import AuditLine
from engine.storage.record import Act
from engine.storage.shared import Shared

logger = TaskLogger("engine")


class ReadPauses(Read[Pauses]):
    """Read the pauses as they are now."""

    __slots__ = ()

    async def read(self, sources: Sources) -> Pauses:
        """See `Read.read`."""
        _take(sources, Pauses.read(await sources.storage.pauses()))
        return sources.state.ready_queue.intake.pauses


class ChangePause(Read[bool]):
    """Pause a kind or a gate, or resume it. That changes no job, so it is no write.

    The answer is whether that has changed anything.

    Attributes:
        named: The ``kind``, or else the name of the ``gate``.
    """

    __slots__ = ("act", "named")
    acts = True
    action = done = ""

    def __init__(
        self,
        kind: str | None = None,
        gate: str | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__()
        if (kind is None) == (gate is None):
            raise InvalidValueError("kind", "must be given, or else `gate`: one of them, not both")
        if gate is None:
            self.named = {"kind": check_kind(kind)}
        else:
            self.named = {"gate": check_text("gate", gate, MAX_IDENTIFIER_CHARACTERS)}
        self.act: Act = checked_act(by, reason)

    async def read(self, sources: Sources) -> bool:
        """See `Read.read`."""
        await sources.settle()
        change = self.change(sources)
        lines = lines_of(acted(self.action, self.act, self.named), time_in(sources))
        while True:
            text = await sources.storage.pauses()
            before = Pauses.read(text)
            _take(sources, before)  # what another engine has paused counts even if this ends it
            after = change(before)
            if after is before:
                return False
            with doubted(sources):
                is_kept = await sources.storage.keep_pauses(after.text, text, lines)
            if is_kept:
                break
        _take(sources, after)
        [(what, name)] = self.named.items()
        _tell(f"the {what} {name!r} is {self.done}", self.act, **self.named)
        return True

    def change(self, sources: Sources) -> Callable[[Pauses], Pauses]:
        """Return a function that makes the new pauses; called again if others have changed them."""
        raise NotImplementedError


class BeginPause(ChangePause):
    """Let no engine claim jobs of a kind, or call the check of a gate.

    A pause that is there stays as it is.
    """

    __slots__ = ()
    action, done = "pause", "paused"

    def change(self, sources: Sources) -> Callable[[Pauses], Pauses]:
        """See `ChangePause.change`."""
        kind, gate = self.named.get("kind"), self.named.get("gate")
        by, reason = self.act.by, self.act.reason
        pause = Pause(kind=kind, gate=gate, at=time_in(sources), by=by, reason=reason)
        return lambda pauses: pauses.with_this(pause)


class EndPause(ChangePause):
    """Let engines claim jobs of a kind again, or call the check of a gate."""

    __slots__ = ()
    action, done = "resume", "resumed"

    def change(self, sources: Sources) -> Callable[[Pauses], Pauses]:
        """See `ChangePause.change`."""
        del sources
        return lambda pauses: pauses.without(**self.named)


class DrainEngine(Read[None]):
    """Let an engine claim nothing more, or claim again.

    Attributes:
        engine_id: The number of the engine in a shared storage; None for this one.
        undo: Whether it claims again.
    """

    __slots__ = ("act", "engine_id", "undo")
    acts = True

    def __init__(
        self,
        engine_id: int | None = None,
        *,
        undo: bool = False,
        by: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__()
        self.engine_id = None if engine_id is None else check_integer("engine_id", engine_id, 1)
        self.undo = check_flag("undo", undo)
        self.act = checked_act(by, reason)

    async def read(self, sources: Sources) -> None:
        """See `Read.read`.

        An engine that is named by its number follows as all do: at the next look.
        """
        await sources.settle()
        action = "undo drain" if self.undo else "drain"
        given = {} if self.engine_id is None else {"engine_id": self.engine_id}
        lines = lines_of(acted(action, self.act, given), time_in(sources))
        if sources.state.shared is not None:
            await self._tell_shared(sources.state.shared, lines)
        elif self.engine_id is not None:
            raise InvalidValueError(
                "engine_id", "must be None: only the engines of a database have numbers"
            )
        elif lines and self.undo is sources.state.ready_queue.intake.is_draining:
            with doubted(sources, *lines):
                await sources.storage.note_acts(lines)  # first: what follows can't fail
        if self.engine_id is None:
            _set_draining(sources, is_draining=not self.undo)
        name = "this engine" if self.engine_id is None else f"engine {self.engine_id}"
        _tell(f"{name} {'claims jobs again' if self.undo else 'is to claim no more'}", self.act)

    async def _tell_shared(self, shared: Shared, lines: Sequence[AuditLine]) -> None:
        if not await shared.drain(self.engine_id, lines, draining=not self.undo):
            raise InvalidValueError(
                "engine_id",
                f"{shown(self.engine_id)} is the number of no living engine: `engine stats` lists "
                "them",
            )


async def follow_instructions(sources: Sources, shared: Shared) -> None:
    """Take in what operators have said to other engines, and of this one, if that has changed."""
    intake, newest = sources.state.ready_queue.intake, shared.instructions
    if newest == intake.instructions:
        return
    _set_draining(sources, is_draining=await shared.is_draining())
    text = await sources.storage.pauses()
    try:
        _take(sources, Pauses.read(text))
    except StorageDamagedError:
        logger.exception("what is paused in this engine stays so, and nothing else")
    intake.instructions = newest


def _take(sources: Sources, pauses: Pauses) -> None:
    """Go by these pauses from now on."""
    if take_pauses(sources.state, pauses, sources.clock):
        sources.serve_claims()


def _set_draining(sources: Sources, *, is_draining: bool) -> None:
    intake = sources.state.ready_queue.intake
    if is_draining != intake.is_draining:
        intake.is_draining = is_draining
        sources.serve_claims()


def _tell(what: str, act: Act, **fields: str) -> None:
    """Log what somebody has said."""
    who = "" if act.by is None else f", by {act.by}"
    why = f": {act.reason}" if act.reason else ""
    logger.info("%s%s%s", what, who, why, extra=fields)
