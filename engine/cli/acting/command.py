"""The command of an act: its arguments, and the way from them to the acts."""

from __future__ import annotations

from argparse import Action, ArgumentError, ArgumentParser, ArgumentTypeError, Namespace
from functools import partial
from typing import Any

from engine.cli.acting.act import Act, Asked, Last, Problem
from engine.cli.acting.asking import may_act, write_dry_run
from engine.cli.acting.carrying_out import carry_out
from engine.cli.acting.chosen import Chosen, chosen_jobs
from engine.cli.arguments import (
    add_dry_run,
    add_json,
    add_place,
    add_reason,
    identifier,
)
from engine.cli.chosen_jobs import add_filters
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.job_ids import ID_HELP
from engine.operating import lifecycle_in


def command_of(act: Act) -> Command:
    """Return the command of an act."""
    return Command(
        name=act.name,
        help_order=act.help_order,
        help=act.summary,
        add_arguments=partial(_add_arguments, act),
        run=partial(_run, act),
        examples=act.examples,
    )


class _Words(Action):
    """Reads the words behind the place: ids of jobs, and behind them the last argument."""

    def __init__(self, *, last: Last | None, **how: Any) -> None:  # noqa: ANN401 - of argparse
        super().__init__(**how)
        self._last = last
        self.required = last is not None

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Any,  # noqa: ANN401 - a list of texts
        _option: str | None = None,
    ) -> None:
        """See `argparse.Action`."""
        del parser
        words: list[str] = [*values]
        try:
            if self._last is not None:
                setattr(namespace, self._last.name, self._last.read(words.pop()))
            namespace.job_ids = [*map(identifier, words)]
        except ArgumentTypeError as error:
            raise ArgumentError(self, str(error)) from None


def _add_arguments(act: Act, parser: ArgumentParser) -> None:
    behind = "" if act.last is None else f" {act.last.metavar}"
    parser.usage = f"%(prog)s PLACE (JOB_ID ... | filters){behind} [options]"
    add_place(parser)
    # Not "*": before Python 3.13 that takes nothing where an option stands behind the place.
    parser.add_argument(
        "job_ids",
        nargs="+",
        default=[],
        action=_Words,
        last=act.last,
        metavar=f"JOB_ID{behind}",
        help=ID_HELP + ("" if act.last is None else f". {act.last.metavar}: {act.last.help}"),
    )
    add_filters(parser)
    add_reason(parser, "why, for the history of the jobs")
    add_dry_run(parser)
    parser.add_argument(
        "--yes", action="store_true", help="don't ask whether to act on what the filters choose"
    )
    add_json(parser, "write a JSON object for each job, one a line")


def _run(act: Act, arguments: Namespace, console: Console) -> Exit:
    found = _chosen(act, arguments, console)
    if isinstance(found, Problem):
        console.note(f"engine: {found.text}")
        return found.code
    if isinstance(found, Exit):
        return found
    if arguments.dry_run:
        write_dry_run(act, found, arguments, console)
        return Exit.OK
    code = may_act(act, found, arguments, console)
    return carry_out(act, found, arguments, console) if code is None else code


def _chosen(act: Act, arguments: Namespace, console: Console) -> Chosen | Problem | Exit:
    """Choose the jobs; or return the exit code, and what to tell if that was not told."""
    place = arguments.place
    with place.reading() as view:
        asked = Asked(
            arguments=arguments,
            console=console,
            view=view,
            lifecycle=lifecycle_in(place, view),
            rules=view.rules(),
        )
        problem = act.problem(asked)
        return chosen_jobs(act, asked) if problem is None else problem
