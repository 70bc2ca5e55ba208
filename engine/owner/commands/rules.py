"""Read, remove, disable and enable the rules of follow-ups."""

from __future__ import annotations

from engine.domain.follow_up_rules import Rules
from engine.domain.labels import check_kind
from engine.owner.acts import acted, checked_act
from engine.owner.commands.audit import lines_of, time_in
from engine.owner.commands.command import Read
from engine.owner.doubts import doubted
from engine.owner.sources import Sources


class ReadRules(Read[Rules]):
    """Read the rules as they are now. Over a shared storage the owner decides by these then."""

    __slots__ = ()

    async def read(self, sources: Sources) -> Rules:
        """See `Read.read`."""
        await sources.state.read_rules()
        return sources.state.rules


class ChangeRule(Read[bool]):
    """Change the rule for a kind. That changes no job, so it is no write.

    Args:
        kind: The kind.
        action: The name of the change in the audit.
        by: Who changes it.
        reason: Why.

    Raises:
        InvalidValueError: An argument is of the wrong type, size or form.
    """

    __slots__ = ("acted", "kind")
    acts = True

    def __init__(self, kind: str, action: str, by: str | None, reason: str | None) -> None:
        super().__init__()
        self.kind = check_kind(kind)
        self.acted = acted(action, checked_act(by, reason), {"kind": self.kind})

    def changed(self, rules: Rules) -> Rules:
        """Return the rules with the change."""
        raise NotImplementedError

    async def read(self, sources: Sources) -> bool:
        """See `Read.read`. Returns whether there was one."""
        await sources.settle()
        state = sources.state
        await state.read_rules()
        was_there = self.kind in state.rules.by_kind
        with doubted(sources):
            await state.change_rules(self.changed, lines_of(self.acted, time_in(sources)))
        return was_there


class RemoveRule(ChangeRule):
    """Remove the rule for a kind; see `ChangeRule`."""

    __slots__ = ()

    def __init__(self, kind: str, by: str | None = None, reason: str | None = None) -> None:
        super().__init__(kind, "remove rule", by, reason)

    def changed(self, rules: Rules) -> Rules:
        """See `ChangeRule.changed`."""
        return rules.without(self.kind)


class SwitchRule(ChangeRule):
    """Disable the rule for a kind, or enable it; see `ChangeRule`."""

    __slots__ = ("disabled",)

    def __init__(
        self, kind: str, by: str | None = None, reason: str | None = None, *, disabled: bool
    ) -> None:
        super().__init__(kind, "disable rule" if disabled else "enable rule", by, reason)
        self.disabled = disabled

    def changed(self, rules: Rules) -> Rules:
        """See `ChangeRule.changed`."""
        return rules.switched(self.kind, disabled=self.disabled)
