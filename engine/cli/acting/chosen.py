"""Chosen jobs of an act: those that were named, or those that the filters admit now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self

from engine.cli.acting.act import Act, Asked, Problem
from engine.cli.chosen_jobs import Choice, status_hint
from engine.cli.exits import Exit
from engine.cli.job_ids import find_id_from
from engine.domain.exceptions import JobDamagedError
from engine.operations.acts import is_of_attempt
from engine.storage.record import Damaged, Record

MOST_JOBS: Final = 250_000
"""Of one command; they take some 50 MB of memory."""
_FILTERS: Final = (
    *("status", "kind", "label", "key", "payment", "since", "stuck"),
    *("due", "no_follow_ups"),
)


class Seen(NamedTuple):
    """A chosen job, as it was when it was chosen."""

    job_id: str
    status: str | None = None
    """None: any, as of a job that can't be read."""
    version: int | None = None
    """Of a job that isn't running: if it leaves and comes back, it is in another situation. A
    running job may come and go by itself."""
    attempt: int | None = None
    """The number of the newest attempt; None: any."""
    deadline: float | str | None = None
    """That which the act changes; None for none."""

    @classmethod
    def of(cls, job: Record | Damaged, act: Act, asked: Asked) -> Self:
        """Return what an act has to know of a job."""
        if isinstance(job, Damaged):
            return cls(job.job_id)
        is_running = job.status == asked.lifecycle.running_value
        return cls(
            job.job_id,
            job.status,
            None if is_running else job.version,
            job.execution.attempt if is_of_attempt(act.name) else None,
            None if act.deadline is None else act.deadline(job, asked.arguments),
        )

    def fields(self, act: Act) -> Mapping[str, Any]:
        """Return it for `engine.operations.bulk`: what is known."""
        seen = {"status": self.status, "version": self.version, "attempt": self.attempt}
        fields: dict[str, Any] = {
            f"expected_{name}": value for name, value in seen.items() if value is not None
        }
        if self.status is not None and act.deadline is not None:
            fields["expected_deadline"] = self.deadline
        return {"job_id": self.job_id, **fields}


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The jobs of an act.

    Attributes:
        jobs: The jobs.
        words: What stands behind "jobs" of the filters; None if each job was named.
        damaged: How many the filters have left out because they can't be read.
        has_more: Whether the filters admit more than `MOST_JOBS`.
    """

    jobs: Sequence[Seen]
    words: str | None = None
    damaged: int = 0
    has_more: bool = False


def chosen_jobs(act: Act, asked: Asked) -> Chosen | Problem | Exit:
    """Choose the jobs; or return what is wrong, or the exit code if that was told already."""
    arguments = asked.arguments
    given = [name for name in _FILTERS if getattr(arguments, name)]
    if arguments.job_ids:
        others = [name for name in given if name != act.beside_id]
        if others or (given and len(arguments.job_ids) > 1):
            option = (others or given)[0].replace("_", "-")
            return Problem(f"--{option} chooses jobs: leave it out, or the ids")
        return _by_ids(act, asked)
    if not given:
        return Problem(
            "say which jobs: by their ids, or by filters such as --status, --kind or --stuck"
        )
    if arguments.key is not None or arguments.payment is not None:
        return _by_names(act, asked)
    return _by_filters(act, asked)


def _by_ids(act: Act, asked: Asked) -> Chosen | Exit:
    found = dict[str, Seen]()
    for text in asked.arguments.job_ids:
        job_id = find_id_from(asked.view, text, asked.arguments, asked.console)
        if isinstance(job_id, Exit):
            return job_id
        found[job_id] = _seen(job_id, act, asked)
    return Chosen(jobs=[*found.values()])


def _seen(job_id: str, act: Act, asked: Asked) -> Seen:
    try:
        job = asked.view.job(job_id)
    except JobDamagedError:  # the act tells of that
        job = None
    return Seen(job_id) if job is None else Seen.of(job, act, asked)


def _by_names(act: Act, asked: Asked) -> Chosen | Problem:
    """Choose the one job that has a key or a payment, whatever its status: it was named."""
    choice = Choice.of(asked.view, asked.arguments)
    found = choice.jobs(asked.view, 0, newest_first=False)
    if jobs := [Seen.of(job, act, asked) for job in found]:
        return Chosen(jobs=jobs)
    return Problem(f"{asked.arguments.place.name} has no job{choice.words()}", Exit.NOT_FOUND)


def _by_filters(act: Act, asked: Asked) -> Chosen | Problem:
    choice, able = Choice.of(asked.view, asked.arguments), act.able(asked)
    among = asked.lifecycle.values if choice.statuses is None else choice.statuses
    statuses = [each for each in among if each in able]
    if asked.arguments.status and not statuses:
        return Problem(
            f"no job{choice.words()} can be {act.done}: only those in "
            f"{', '.join(able) or 'no status'}; {status_hint(asked.view)}"
        )
    choice = replace(choice, statuses=statuses)
    jobs, damaged = list[Seen](), 0
    texts = {each: each for each in statuses}  # one object for all jobs in a status
    for job in choice.jobs(asked.view, 0, newest_first=False) if statuses else ():
        if isinstance(job, Damaged):
            damaged += 1
        elif act.admits(job, asked):
            if len(jobs) == MOST_JOBS:
                return Chosen(jobs=jobs, words=choice.words(), damaged=damaged, has_more=True)
            seen = Seen.of(job, act, asked)
            jobs.append(seen._replace(status=texts[job.status]))
    return Chosen(jobs=jobs, words=choice.words(), damaged=damaged)
