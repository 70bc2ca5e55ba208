"""Asking: what is told before an act, and whether it may be done."""

from __future__ import annotations

import shlex
from argparse import Namespace
from typing import Final

from engine.cli.acting.act import Act
from engine.cli.acting.chosen import MOST_JOBS, Chosen
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import NOTHING, counted
from engine.storage.locations import POSTGRES_URLS
from engine.storage.places import place_at

_SHOWN_JOBS: Final = 20
_HEAD: Final = ("JOB ID", "STATUS")
_YES: Final = {"y", "yes"}


def write_dry_run(act: Act, chosen: Chosen, arguments: Namespace, console: Console) -> None:
    """Write what an act would be done to."""
    _note_rest(chosen, arguments, console)
    if arguments.json:
        for job in chosen.jobs:
            console.json({"job_id": job.job_id, "status": job.status})
        return
    if chosen.jobs:
        rows = [(job.job_id, job.status or NOTHING) for job in chosen.jobs[:_SHOWN_JOBS]]
        console.table(_HEAD, rows, console.room)
    if len(chosen.jobs) > _SHOWN_JOBS:
        console.line(f"… and {len(chosen.jobs) - _SHOWN_JOBS:,} more")
    console.line(f"would {_sentence(act, chosen, arguments)}")


def may_act(act: Act, chosen: Chosen, arguments: Namespace, console: Console) -> Exit | None:
    """Ask whether to act on what filters have chosen; return the exit code if that is all."""
    if chosen.words is None:
        return None
    _note_rest(chosen, arguments, console)
    if not chosen.jobs:
        console.note(f"no job{chosen.words} can be {act.done} now")
        return Exit.OK
    return confirmed(_sentence(act, chosen, arguments), arguments, console)


def confirmed(sentence: str, arguments: Namespace, console: Console) -> Exit | None:
    """Ask whether to do what a sentence says; return the exit code if it is not to be done."""
    if arguments.yes:
        return None
    if not console.can_ask:
        console.note(f"engine: to {sentence}, say so by --yes: {_command(arguments)}")
        return Exit.USAGE
    answer = console.ask(f"{sentence}? [y/N] ")
    if answer is not None and answer.strip().lower() in _YES:
        return None
    console.note("nothing was done")
    return Exit.REFUSED


def _sentence(act: Act, chosen: Chosen, arguments: Namespace) -> str:
    jobs = counted(len(chosen.jobs), "job")
    return f"{act.name} {jobs}{chosen.words or ''}{act.towards(arguments)}"


def _note_rest(chosen: Chosen, arguments: Namespace, console: Console) -> None:
    """Tell of the jobs that the filters admit, and that are left out."""
    if chosen.has_more:
        console.note(f"the oldest {MOST_JOBS:,} jobs: for the others, run it again afterwards")
    if chosen.damaged:
        check = f"{arguments.program} check {shlex.quote(arguments.place.name)}"
        console.note(f"damaged jobs, left out: {chosen.damaged:,}; to learn more: {check}")


def _command(arguments: Namespace) -> str:
    """Return the command as it was given, with ``--yes`` and without a password."""
    words = [
        place_at(word).name if word.startswith(POSTGRES_URLS) else word for word in arguments.words
    ]
    words.insert(1, "--yes")  # behind the command's name: behind a "--" it would be no option
    return f"{arguments.program} {shlex.join(words)}"
