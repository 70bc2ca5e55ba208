"""Job ids: the argument that names a job, by its id or by the beginning of it."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.arguments import identifier
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import CUT
from engine.domain.exceptions import JobDamagedError, shown
from engine.storage.inspection import View
from engine.storage.record import Record

_FEWEST_CHARACTERS: Final = 6  # of a beginning
_CANDIDATES: Final = 10
ID_HELP: Final = f"the job's id, or its beginning: {_FEWEST_CHARACTERS} characters at least"
"""Of an argument that names a job."""


def add_job_id(parser: ArgumentParser, *, optional: bool = False) -> None:
    """Add the argument ``JOB_ID``."""
    parser.add_argument(
        "job_id",
        type=identifier,
        nargs="?" if optional else None,
        metavar="JOB_ID",
        help=ID_HELP,
    )


def find_job_id(view: View, arguments: Namespace, console: Console) -> str | Exit:
    """Return the id of the job that the arguments name; or tell why none is, and return the code.

    An id that is there counts as such, even if others begin with it.
    """
    return find_id_from(view, arguments.job_id, arguments, console)


def find_job(view: View, arguments: Namespace, console: Console) -> Record | Exit:
    """Return the job that the arguments name, as `find_job_id` does its id.

    Raises:
        JobDamagedError: It is damaged.
    """
    job_id = find_job_id(view, arguments, console)
    if isinstance(job_id, Exit):
        return job_id
    job = view.job(job_id)
    if job is None:  # a damaged index has its id
        raise JobDamagedError(job_id, "it can't be found by its id")
    return job


def find_id_from(view: View, text: str, arguments: Namespace, console: Console) -> str | Exit:
    """Do as `find_job_id` for a text that names a job, also as a narrow terminal shows it."""
    place, text = arguments.place.name, text.removesuffix(CUT)
    found = view.ids_from(text, _CANDIDATES + 1)
    if text in found:
        return text
    if len(text) < _FEWEST_CHARACTERS or not found:
        look = f"{arguments.program} list {shlex.quote(place)} --newest"
        console.note(f"engine: {place} has no job {shown(text)}; to look for it: {look}")
        return Exit.NOT_FOUND
    if len(found) > 1:
        console.note(f"engine: several jobs of {place} have an id that begins with {shown(text)}:")
        for job_id in found[:_CANDIDATES]:
            console.note(f"  {job_id}")
        if len(found) > _CANDIDATES:
            console.note("  and others: give more of it")
        return Exit.USAGE
    return found[0]
