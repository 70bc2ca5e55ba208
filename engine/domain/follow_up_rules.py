"""The rules of follow-ups that a storage keeps, and what can be told from them.

A storage keeps them as one JSON text, whose number grows with each change. Whoever decides under
older ones learns so at the commit, and decides again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from msgspec import DecodeError
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from engine.domain.exceptions import InvalidValueError, StorageDamagedError, shown
from engine.domain.follow_up_rule import Rule
from engine.domain.follow_ups import FollowUp
from engine.domain.lifecycle import Lifecycle

MAX_RULES: Final = 256
MAX_AT_ONCE: Final = 128  # jobs that one transition creates, with those that follow a birth


class StoredRules(NamedTuple):
    """The rules as a storage keeps them."""

    number: int = 0
    """One more with each change; 0 for a new storage."""
    text: str = "[]"


NO_RULES: Final = StoredRules()


class RulesOfStatus:
    """The rules for jobs that enter one status, by the kinds that they are about.

    So a transition that no rule is about costs a look into two dictionaries.

    Attributes:
        groups: The sets of rules that one transition may meet: that of each kind which a rule
            names, and that of all other kinds.
    """

    __slots__ = ("_of_any", "_of_kind", "_of_root", "groups")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._of_any = tuple(rule for rule in rules if rule.of is None)
        kinds = {kind for rule in rules for kind in rule.of or ()}
        self._of_kind = {kind: _about(rules, kind, is_follow_up=True) for kind in kinds}
        self._of_root = {kind: _about(rules, kind, is_follow_up=False) for kind in kinds}
        self.groups = (self._of_any, *self._of_root.values())

    def about(self, kind: str, *, is_follow_up: bool) -> Sequence[Rule]:
        """Return the rules about a job, in the order of their kinds."""
        if is_follow_up:
            return self._of_kind.get(kind, ())
        return self._of_root.get(kind, self._of_any)


def _about(rules: Sequence[Rule], kind: str, *, is_follow_up: bool) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.is_of(kind, is_follow_up=is_follow_up))


class Rules:
    """The rules of a storage, each by the kind that it creates, in the order of the kinds.

    Args:
        rules: Those; of two for one kind the last one counts.
        number: That of the storage.

    Attributes:
        number: The same.
        by_status: The rules for each status.
    """

    def __init__(self, rules: Iterable[Rule] = (), number: int = 0) -> None:
        self.number = number
        self.by_kind = {rule.kind: rule for rule in sorted(rules, key=lambda rule: rule.kind)}
        to: dict[str, list[Rule]] = {}
        for rule in self.by_kind.values():
            for status in rule.to:
                to.setdefault(status, []).append(rule)
        self.by_status = {status: RulesOfStatus(its) for status, its in to.items()}

    @classmethod
    def read(cls, stored: StoredRules) -> Rules:
        """Return the rules that a storage keeps.

        Raises:
            StorageDamagedError: They are not as engines write them.
        """
        try:
            return cls(_decoder.decode(stored.text), stored.number)
        except DecodeError as error:
            raise StorageDamagedError(f"the rules of follow-ups are damaged: {error}") from None

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.by_kind.values())

    @cached_property
    def text(self) -> str:
        """The stored form: a JSON array."""
        return encode([*self]).decode()

    def with_these(self, given: Sequence[Rule], names: Mapping[str, str]) -> Rules:
        """Return the rules with others added, or replaced by them.

        Args:
            given: The others.
            names: The new names of old statuses, which all rules get.

        Raises:
            InvalidValueError: Kinds follow each other in a circle, or there are too many rules.
        """
        kept = (rule.renamed(names) for rule in self)
        rules = Rules([*kept, *map(self._as_enabled_as_before, given)], self.number)
        if len(rules.by_kind) > MAX_RULES:
            raise InvalidValueError(
                "follow_ups",
                f"would be {len(rules.by_kind)} with those that are kept, and {MAX_RULES} are "
                "allowed: remove some by `engine rules remove`",
            )
        rules.check_no_circle()
        return rules

    def _as_enabled_as_before(self, given: Rule) -> Rule:
        """Return a rule as it is to be kept: disabled if the one before is, unless it says it."""
        before, disabled = self.by_kind.get(given.kind), given.disabled
        if disabled is None and before is not None:
            disabled = before.disabled
        return replace(given, disabled=disabled or None)

    def switched(self, kind: str, *, disabled: bool) -> Rules:
        """Return the rules with that for a kind disabled, or enabled."""
        rules = dict(self.by_kind)
        if kind in rules:
            rules[kind] = replace(rules[kind], disabled=disabled or None)
        return Rules(rules.values(), self.number)

    def without(self, kind: str) -> Rules:
        """Return the rules without that for a kind."""
        return Rules((rule for rule in self if rule.kind != kind), self.number)

    def check_no_circle(self) -> None:
        """Check that no kind follows from itself, directly or through others.

        Raises:
            InvalidValueError: One does.
        """
        done: set[str] = set()
        for rule in self:
            self._check_from(rule.kind, [], done)

    def _check_from(self, kind: str, path: Sequence[str], done: set[str]) -> None:
        """Go through the kinds that follow from one. Those that are done are in no circle."""
        if kind in path:
            circle = [*path[path.index(kind) :], kind]
            raise InvalidValueError(
                "follow_ups",
                f"follow each other in a circle: {' → '.join(circle)}. Take one of these kinds out "
                "of the `of` of the next one",
            )
        if kind in done:
            return
        for rule in self:
            if rule.of is not None and kind in rule.of:
                self._check_from(rule.kind, [*path, kind], done)
        done.add(kind)

    def check_most(self, running: str) -> None:
        """Check that no transition may create too many jobs; see `most`.

        Raises:
            InvalidValueError: One may.
        """
        if (most := self.most(running)) > MAX_AT_ONCE:
            raise InvalidValueError(
                "follow_ups",
                f"would let a transition create {most:,} jobs, and {MAX_AT_ONCE} are allowed: give "
                "fewer for one status, or remove some that are kept by `engine rules remove`",
            )

    def most(self, running: str) -> int:
        """Return how many jobs one transition can create; follow-ups are born ``running``."""
        counts: dict[str, int] = {}
        every = (group for its in self.by_status.values() for group in its.groups)
        return max((self._most(rules, running, counts) for rules in every), default=0)

    def _most(self, rules: Sequence[Rule], running: str, counts: dict[str, int]) -> int:
        """Return how many jobs these rules can create, counted once for each kind."""
        born = self.by_status.get(running)
        for rule in rules:
            if rule.kind not in counts:
                theirs = () if born is None else born.about(rule.kind, is_follow_up=True)
                counts[rule.kind] = 1 + self._most(theirs, running, counts)
        return sum(counts[rule.kind] for rule in rules)


_decoder: Final = Decoder(list[Rule])
NONE: Final = Rules()


def checked_rules(given: object, lifecycle: Lifecycle[Any]) -> Sequence[Rule]:
    """Return the rules that an engine is given, in their stored form.

    Raises:
        InvalidValueError: They are no collection of `FollowUp`, two have one kind, one names a
            status that the lifecycle doesn't have, or kinds follow each other in a circle.
    """
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise InvalidValueError("follow_ups", f"must be a list of FollowUp, not {shown(given)}")
    rules: dict[str, Rule] = {}
    for each in given:
        if not isinstance(each, FollowUp):
            raise InvalidValueError("follow_ups", f"must have only FollowUp, not {shown(each)}")
        if each.kind in rules:
            raise InvalidValueError(
                "follow_ups", f"has two rules for the kind {each.kind!r}: give one another kind"
            )
        rules[each.kind] = Rule.of_follow_up(each, lifecycle)
    Rules(rules.values()).check_no_circle()
    return [*rules.values()]
