"""Answer the prompt of a job, from the command line or in a dialogue."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any, Final

from engine.cli.acting.act import Act
from engine.cli.acting.answering import asked_answer, given_answer, write_prompt
from engine.cli.acting.carrying_out import carry_out
from engine.cli.acting.chosen import Chosen, Seen
from engine.cli.acting.next_steps import write_next_steps
from engine.cli.arguments import add_dry_run, add_json, add_place, add_reason
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.job_ids import add_job_id, find_job
from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.models import Prompt

_ACT: Final = Act(
    name="answer",
    done="answered",
    summary="answer the question of a job; on a terminal it is asked field by field",
    help_order=23,
    able=lambda _: (),
    arguments=lambda given: {"prompt_id": given.prompt_id, "value": given.answer},
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``answer``."""
    parser.usage = "%(prog)s PLACE JOB_ID [NAME=VALUE ... | --value JSON] [options]"
    add_place(parser)
    add_job_id(parser)
    # Not "*": before Python 3.13 that takes nothing where an option stands behind the job.
    parts = parser.add_argument(
        "parts",
        type=_part,
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="a part of the answer, where it is an object of texts, numbers, choices and dates",
    )
    parts.required = False
    parser.add_argument("--value", metavar="JSON", help="the whole answer")
    add_reason(parser, "why, for the history of the job")
    add_dry_run(parser)
    add_json(parser, "write the job as a JSON object")


def _part(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")
    return name, value


def answer(arguments: Namespace, console: Console) -> Exit:
    """Answer the prompt of a job.

    Raises:
        JobDamagedError: The job is damaged.
        StorageError: The place can't be read or written.
    """
    found = _prompt(arguments, console)
    if isinstance(found, Exit):
        return found
    try:
        given = _answer(found, arguments, console)
    except (InvalidValueError, RuntimeError) as error:
        console.note(f"engine: {error}")
        return Exit.USAGE
    except EOFError:
        console.note("")  # the end of the input has left the question's line open
        console.note("nothing was done")
        return Exit.REFUSED
    if isinstance(given, Exit):
        return given
    if arguments.dry_run:
        console.json({"job_id": arguments.job_id, "value": given.value})
        return Exit.OK
    arguments.prompt_id, arguments.answer = found.prompt_id, given.value
    # Not the status that was seen: the prompt's id says more.
    return carry_out(_ACT, Chosen(jobs=[Seen(arguments.job_id)]), arguments, console)


def _prompt(arguments: Namespace, console: Console) -> Prompt | Exit:
    """Return the open prompt of the job, whose whole id the arguments have from now on."""
    with arguments.place.reading() as view:
        job = find_job(view, arguments, console)
    if isinstance(job, Exit):
        return job
    arguments.job_id = job.job_id
    if job.execution.prompt is not None and job.outcome is None:
        return Prompt.model_validate_json(job.execution.prompt)
    console.note(f"engine: job {shown(job.job_id)} is {shown(job.status)}, and asks nothing")
    write_next_steps(_ACT.name, job.job_id, arguments, console)
    return Exit.REFUSED


class _Given:
    """An answer, which may be any JSON value."""

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - any JSON value
        self.value = value


def _answer(prompt: Prompt, arguments: Namespace, console: Console) -> _Given | Exit:
    if arguments.value is not None and arguments.parts:
        raise InvalidValueError("--value", "is the whole answer: leave NAME=VALUE out, or it")
    if arguments.value is not None or arguments.parts:
        return _Given(given_answer(arguments, prompt))
    if console.can_ask:
        return _Given(asked_answer(prompt, console))
    write_prompt(prompt, console)
    words = shlex.join(["answer", arguments.place.name, arguments.job_id])
    console.note(f"engine: give the answer: {arguments.program} {words} --value JSON")
    return Exit.USAGE


COMMAND: Final = Command(
    name=_ACT.name,
    help_order=_ACT.help_order,
    help=_ACT.summary,
    add_arguments=add_arguments,
    run=answer,
    examples=(
        "answer jobs.db 0190f3a7",
        "answer jobs.db 0190f3a7 size=A4 copies=2",
        "answer jobs.db 0190f3a7 --value true",
    ),
)
