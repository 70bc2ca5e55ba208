"""Acts: what a command offers to do with jobs, and what it needs to know for that."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.domain.follow_up_rules import Rules
from engine.domain.lifecycle import Lifecycle
from engine.storage.inspection import View
from engine.storage.record import Record


class Problem(NamedTuple):
    """Why a command can't be carried out as it was given."""

    text: str
    code: Exit = Exit.USAGE


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A command as it was given, and the state of the place for which it was."""

    arguments: Namespace
    console: Console
    view: View
    lifecycle: Lifecycle[Any]
    """That which the place keeps."""
    rules: Rules
    """Those of follow-ups that it keeps."""


@dataclass(frozen=True, kw_only=True)
class Last:
    """The argument that stands behind the jobs."""

    name: str
    """Of the value in the arguments."""
    metavar: str
    help: str
    read: Callable[[str], Any]
    """Returns the value; raises `argparse.ArgumentTypeError`."""


@dataclass(frozen=True, kw_only=True)
class Act:
    """An act on jobs.

    Attributes:
        name: The operation's and the command's.
        done: Its participle, for what is told afterwards.
        done_to: Returns that of one job, by the job in the answer, as JSON; by default the same.
        summary: One line, without a full stop.
        able: Returns the statuses of the jobs that filters may choose.
        admits: Returns whether filters may choose a job in one of these statuses.
        last: The argument behind the jobs; None: there is none.
        beside_id: The filter that is an argument of the act where one job is named by its id.
        arguments: Returns the operation's arguments, without job and reason.
        towards: Returns what the question says behind the jobs.
        problem: Returns what is wrong with the arguments in this place; None if nothing is.
        deadline: Returns the deadline that it changes, as it is now; None: it changes none.
    """

    name: str
    done: str
    summary: str
    help_order: int
    able: Callable[[Asked], Collection[str]]
    done_to: Callable[[Mapping[str, Any]], str] | None = None
    admits: Callable[[Record, Asked], bool] = lambda _, __: True
    last: Last | None = None
    beside_id: str | None = None
    arguments: Callable[[Namespace], Mapping[str, Any]] = lambda _: {}
    towards: Callable[[Namespace], str] = lambda _: ""
    problem: Callable[[Asked], Problem | None] = lambda _: None
    deadline: Callable[[Record, Namespace], float | str | None] | None = None
    examples: tuple[str, ...] = ()
