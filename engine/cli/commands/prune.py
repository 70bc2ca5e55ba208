"""Remove ended jobs by their age, or all but the newest."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any, Final

import anyio

from engine.cli.acting.asking import confirmed
from engine.cli.arguments import (
    add_dry_run,
    add_json,
    add_place,
    add_reason,
    age,
    whole_number,
)
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import counted
from engine.cli.times import duration, moment
from engine.domain.exceptions import EngineError, StorageError
from engine.domain.visible_text import visible
from engine.operating import desk_at, lifecycle_in, this_operator
from engine.portal.time import utc_now
from engine.storage.protocol import ProgressCallback

_STEP_JOBS: Final = 1_000


class _Removed:
    """Counts the removed jobs, and tells it: also if something goes wrong on the way.

    Attributes:
        of: How many jobs were to go.
        jobs: How many have gone.
    """

    def __init__(self, of: int, console: Console, *, as_json: bool) -> None:
        self.of = of
        self.jobs = 0
        self._console = console
        self._as_json = as_json

    def write(self) -> None:
        if self._as_json:
            self._console.json({"jobs": self.of, "removed": self.jobs})
        else:
            self._console.line(f"pruned: {counted(self.jobs, 'job')}")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``prune``."""
    add_place(parser)
    parser.add_argument(
        "--older-than", type=age, metavar="AGE", help="jobs that ended longer ago, such as 30d"
    )
    parser.add_argument(
        "--keep", type=whole_number(0), metavar="N", help="all but the newest N ended jobs"
    )
    add_reason(parser, "why, for the audit")
    add_dry_run(parser)
    parser.add_argument("--yes", action="store_true", help="don't ask")
    add_json(parser, "write one JSON object: how many jobs were to go, and how many have gone")


def prune(arguments: Namespace, console: Console) -> Exit:
    """Remove ended jobs, after a question that says how many."""
    if arguments.older_than is None and arguments.keep is None:
        console.note("engine: say which ended jobs: by --older-than, such as 30d, or by --keep")
        return Exit.USAGE
    jobs = _count(arguments)
    which = " or ".join(_clauses(arguments))
    sentence = f"prune {counted(jobs, 'job')} {which}, with all that is kept of them"
    removed = _Removed(jobs, console, as_json=arguments.json)
    if arguments.json and (arguments.dry_run or not jobs):
        removed.write()
        return Exit.OK
    if arguments.dry_run:
        console.line(f"would {sentence}")
        return Exit.OK
    if not jobs:
        console.note(f"there are no jobs {which} with all their follow-ups")
        return Exit.OK
    code = confirmed(sentence, arguments, console)
    return _carry_out(removed, arguments, console) if code is None else code


def _count(arguments: Namespace) -> int:
    older_than, place = arguments.older_than, arguments.place
    before = None if older_than is None else moment(older_than, utc_now())
    with place.reading() as view:
        final = lifecycle_in(place, view).final_values
        count: int = view.removable(final, before, arguments.keep)
        return count


def _clauses(arguments: Namespace) -> Iterator[str]:
    if arguments.older_than is not None:
        yield f"that ended more than {arguments.older_than} ago"
    if arguments.keep is not None:
        yield f"that ended before the newest {arguments.keep:,}"


def _carry_out(removed: _Removed, arguments: Namespace, console: Console) -> Exit:
    """Remove as many as the question has said, and tell how many these were.

    Raises:
        StorageError: The place can't be opened, or can't be written any more.
    """
    try:
        with console.progress(f"prune {arguments.place.name}", "jobs") as progress:
            anyio.run(_prune, arguments, removed, progress)
    except StorageError:
        _write_begun(removed)
        raise
    except EngineError as error:
        _write_begun(removed)
        console.note(visible(f"engine: {error}"))
        return Exit.UNREADABLE
    except BaseException:  # Ctrl-C
        _write_begun(removed)
        raise
    removed.write()
    return Exit.OK


def _write_begun(removed: _Removed) -> None:
    if removed.jobs:
        removed.write()


async def _prune(arguments: Namespace, removed: _Removed, progress: ProgressCallback) -> None:
    older_than, who = arguments.older_than, this_operator()
    rule: dict[str, Any] = {
        "older_than": None if older_than is None else duration(older_than).total_seconds(),
        "keep": arguments.keep,
        "reason": arguments.reason,
    }
    async with desk_at(arguments.place) as desk:
        while (most := min(_STEP_JOBS, removed.of - removed.jobs)) > 0:
            progress(removed.jobs, removed.of)
            step = (await desk.do("prune", {**rule, "most": most}, by=who))["removed"]
            removed.jobs += step
            if step < most:
                return


COMMAND: Final = Command(
    name="prune",
    help_order=31,
    help="remove ended jobs by their age, or all but the newest",
    add_arguments=add_arguments,
    run=prune,
    examples=(
        "prune jobs.db --older-than 90d --dry-run",
        "prune jobs.db --keep 100000 --reason small-disk --yes",
    ),
)
