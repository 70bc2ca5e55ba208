"""List the rules of follow-ups; remove, disable or enable one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from msgspec import to_builtins

from engine.cli.arguments import add_json, add_place, add_reason, kind
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import NOTHING, Cells
from engine.domain.exceptions import shown
from engine.domain.follow_up_rule import Rule
from engine.domain.follow_up_rules import Rules
from engine.operating import this_operator
from engine.owner.acts import acted
from engine.owner.commands.audit import lines_of
from engine.portal.time import utc_now
from engine.storage.record import Act


@dataclass(frozen=True)
class _Change:
    """A change of one rule."""

    note: str
    """What its user should know."""
    done: str
    """What is told afterwards, behind the kind."""
    of: Callable[[Rules, str], Rules]


_CHANGES: Final = {
    "remove": _Change(
        "The jobs that it has created stay. An engine that is opened with the rule adds it again: "
        "take it out of its `follow_ups` first.",
        "is removed",
        Rules.without,
    ),
    "disable": _Change(
        "It creates nothing until somebody enables it, whatever engines are opened with.",
        "is disabled",
        lambda rules, kind: rules.switched(kind, disabled=True),
    ),
    "enable": _Change(
        "It creates jobs again, such as the deliveries to an endpoint that was gone.",
        "is enabled",
        lambda rules, kind: rules.switched(kind, disabled=False),
    ),
}
_HEAD: Final = ("KIND", "OF", "TO", "ONLY", "DELAY")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``rules``."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="list the rules that are kept with the jobs",
        description="List the rules that are kept with the jobs.",
        allow_abbrev=False,
    )
    add_place(listing)
    add_json(listing, "write each rule as a JSON object, one a line")
    listing.set_defaults(act=_list)
    for action, change in _CHANGES.items():
        changing = actions.add_parser(
            action,
            help=f"{action} the rule for a kind; no engine may have a file meanwhile",
            description=f"{action.capitalize()} the rule for a kind. {change.note}",
            allow_abbrev=False,
        )
        add_place(changing)
        changing.add_argument("kind", type=kind, metavar="KIND", help="the kind of the follow-ups")
        add_reason(changing, "why, for the audit")
        changing.set_defaults(act=_change, change=change, action=action)


def rules(arguments: Namespace, console: Console) -> Exit:
    """List rules, or change one."""
    code: Exit = arguments.act(arguments, console)
    return code


def _list(arguments: Namespace, console: Console) -> Exit:
    with arguments.place.reading() as view:
        found = [*view.rules()]
    if arguments.json:
        for rule in found:
            console.json(to_builtins(rule))
        return Exit.OK
    if not found:
        console.note("there are no rules: give an engine `follow_ups`")
        return Exit.OK
    console.table(_HEAD, map(_cells, found), console.room)
    return Exit.OK


def _cells(rule: Rule) -> Cells:
    return (
        rule.kind,
        "no follow-ups" if rule.of is None else ", ".join(rule.of),
        ", ".join(rule.to),
        ", ".join(_conditions(rule)) or NOTHING,
        NOTHING if rule.delay is None else str(rule.delay),
    )


def _conditions(rule: Rule) -> Iterator[str]:
    if rule.disabled:
        yield "disabled"
    if rule.started is not None:
        yield "started" if rule.started else "not started"
    yield from rule.outcomes or ()
    labels: dict[str, Any] = rule.labels or {}
    yield from (f"{name}={value}" for name, value in labels.items())


def _change(arguments: Namespace, console: Console) -> Exit:
    change = arguments.change
    act = Act(this_operator(), arguments.reason)
    noted = acted(f"{arguments.action} rule", act, {"kind": arguments.kind})
    lines = lines_of(noted, utc_now())
    before = arguments.place.change_rules(lambda kept: change.of(kept, arguments.kind), lines)
    if arguments.kind not in before.by_kind:
        known = ", ".join(before.by_kind) or "none"
        console.note(
            f"engine: there is no rule {shown(arguments.kind)}; those that are kept: {known}"
        )
        return Exit.NOT_FOUND
    console.line(f"{arguments.place.name}: the rule {arguments.kind} {change.done}")
    return Exit.OK


COMMAND: Final = Command(
    name="rules",
    help_order=10,
    help="list the rules of follow-ups; remove, disable or enable one",
    add_arguments=add_arguments,
    run=rules,
    examples=("rules list jobs.db", "rules disable jobs.db refund --reason the-bank-is-closed"),
)
