"""Chosen jobs: the filters of the command line, and the jobs that they admit."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import product
from typing import Final, Self

from engine.cli.arguments import age, identifier, input_hash, kind, label, payment, time
from engine.cli.times import duration, moment
from engine.domain.exceptions import StorageError, shown
from engine.portal.time import utc_now
from engine.storage.answers import Names
from engine.storage.filter import JobFilter, Label
from engine.storage.findings import printable_name
from engine.storage.inspection import View
from engine.storage.record import Damaged, Record, job_id_in

_BLOCK_JOBS: Final = 100  # read at once


def add_filters(parser: ArgumentParser) -> None:
    """Add the arguments that choose jobs: those for which all of them hold."""
    chosen = parser.add_argument_group("which jobs")
    add = chosen.add_argument
    add("--status", type=identifier, action="append", default=[], help=_AGAIN.format("status"))
    add("--kind", type=kind, action="append", default=[], help=_AGAIN.format("kind"))
    add(
        *("--label",),
        type=label,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="those that have this label; given again: and that one, too",
    )
    add("--key", type=identifier, help="the one with this idempotency key")
    add("--payment", type=payment, help="the one that this payment pays for")
    add("--input-hash", type=input_hash, metavar="HASH", help="those whose input has this hash")
    add(
        *("--since",),
        type=time,
        metavar="TIME",
        help="those created since then: 2h, 3d, 2026-11-22 or 2026-11-22T13:00:00Z",
    )
    add(
        *("--stuck",),
        type=age,
        metavar="AGE",
        help="running ones where nothing has begun for so long, such as 30min: neither the job "
        "itself, nor an attempt, nor the time of its next one",
    )
    add(
        "--due",
        action="store_true",
        help="those whose deadline has passed, or the time of their next attempt",
    )
    add("--no-follow-ups", action="store_true", help="those that are no follow-ups")


_AGAIN: Final = "those of this {}; given again: or of that one"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The jobs that the arguments choose.

    Attributes:
        statuses: Their statuses; None for any.
    """

    arguments: Namespace
    statuses: Sequence[str] | None
    now: datetime

    @classmethod
    def of(cls, view: View, arguments: Namespace) -> Self:
        """Read the arguments.

        Raises:
            StorageError: ``--stuck`` or ``--due`` need a lifecycle, and no engine has kept its own.
        """
        statuses = [*dict.fromkeys(arguments.status)] or None
        if arguments.stuck is not None or arguments.due:
            known = view.statuses()
            if known is None:
                raise StorageError(
                    f"{arguments.place.name} tells no lifecycle: open it with an engine once, "
                    "or list without --stuck and --due"
                )
            possible = (known.running,) if arguments.stuck is not None else known.live
            statuses = [each for each in statuses or possible if each in possible]
        return cls(arguments=arguments, statuses=statuses, now=utc_now())

    def jobs(self, view: View, after: int, *, newest_first: bool) -> Iterator[Record | Damaged]:
        """Return the jobs behind a position, in the order of their positions or the reverse."""
        if self.arguments.key is not None or self.arguments.payment is not None:
            yield from self._named(view, after, newest_first=newest_first)
            return
        statuses = (None,) if self.statuses is None else self.statuses
        filters = product(statuses, self.arguments.kind or (None,))
        pages = [
            _pages(view, self._filter(*each), after, newest_first=newest_first) for each in filters
        ]
        yield from merge(*pages, key=lambda job: job.position, reverse=newest_first)

    def _filter(self, status: str | None, its_kind: str | None) -> JobFilter:
        given = self.arguments
        return JobFilter(
            status,
            its_kind,
            tuple(Label(*each) for each in given.label),
            created_after=None if given.since is None else moment(given.since, self.now),
            follow_ups=not given.no_follow_ups,
            still_since=None if given.stuck is None else self.now - duration(given.stuck),
            due_by=self.now if given.due else None,
            input_hash=given.input_hash,
        )

    def _named(self, view: View, after: int, *, newest_first: bool) -> Iterator[Record | Damaged]:
        """Return the one job that has the names, if it is among those that are chosen."""
        key, name = self.arguments.key, self.arguments.payment
        job_id = None if name is None else job_id_in(name)
        names = Names(
            [] if job_id is None else [job_id],
            [] if key is None else [key],
            [] if name is None or job_id is not None else [name],
        )
        for job in view.find(names):
            is_behind = not after or (
                job.position < after if newest_first else job.position > after
            )
            if is_behind and (isinstance(job, Damaged) or self._admits(job)):
                yield job

    def _admits(self, job: Record) -> bool:
        given = self.arguments
        return (
            given.key in {None, job.idempotency_key}
            and given.payment in {None, job.identifier}
            and (self.statuses is None or job.status in self.statuses)
            and (not given.kind or job.kind in given.kind)
            and self._filter(None, None).admits(job)
        )

    def words(self) -> str:
        """Return what is chosen, behind "jobs"."""
        given, words = self.arguments, ""
        if given.status:
            words += f" with the status {' or '.join(map(shown, given.status))}"
        if given.kind:
            words += f" of the kind {' or '.join(given.kind)}"
        for each in given.label:
            words += f" with the label {shown('='.join(each))}"
        if given.key is not None:
            words += f" with the key {shown(given.key)}"
        if given.payment is not None:
            words += f" paid by {shown(given.payment)}"
        if given.input_hash is not None:
            words += f" with the input hash {shown(given.input_hash)}"
        if given.since is not None:
            words += f" created since {moment(given.since, self.now):%Y-%m-%d %H:%M:%SZ}"
        if given.stuck is not None:
            words += f" stuck for {given.stuck}"
        return words + (" due now" if given.due else "") + _WITHOUT[given.no_follow_ups]

    def command(self) -> list[str]:
        """Return the arguments, as they were given."""
        given = self.arguments
        named = [
            *(("--status", each) for each in given.status),
            *(("--kind", each) for each in given.kind),
            *(("--label", "=".join(each)) for each in given.label),
            *(("--key", given.key), ("--payment", given.payment)),
            ("--input-hash", given.input_hash),
            *(("--since", given.since), ("--stuck", given.stuck)),
        ]
        words = [word for name, value in named if value is not None for word in (name, value)]
        flags = (("--due", given.due), ("--no-follow-ups", given.no_follow_ups))
        return [*words, *(flag for flag, is_set in flags if is_set)]


_WITHOUT: Final = {False: "", True: " that are no follow-ups"}


def status_hint(view: View) -> str:
    """Return the statuses that jobs have, for somebody who has named another one."""
    return f"statuses there: {', '.join(sorted(map(printable_name, view.counts()))) or 'none'}"


def _pages(
    view: View, jobs: JobFilter, first_after: int, *, newest_first: bool
) -> Iterator[Record | Damaged]:
    after: int | None = first_after
    while after is not None:
        block = view.page(jobs, after, _BLOCK_JOBS, newest_first=newest_first)
        yield from block.jobs
        after = block.next_after
