"""The tally of an act: on how many jobs it was done, and why not on the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.cli.acting.act import Act
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import counted, cut, job_line
from engine.operations.refusals import REFUSALS

_SHOWN_JOBS: Final = 10
_TEXT_COLUMNS: Final = 300
_DAMAGE: Final = frozenset({"JobDamagedError", "StorageDamagedError"})


class _Left:
    """The jobs on which an act was not done, for one sort of reasons."""

    def __init__(self, title: str) -> None:
        self.count = 0
        self._title = title
        self._lines: list[str] = []

    def add(self, job_id: str, text: str) -> None:
        self.count += 1
        if len(self._lines) < _SHOWN_JOBS:
            self._lines.append(f"  {job_id}: {cut(text, _TEXT_COLUMNS)}")

    def write(self, write: Any) -> None:  # noqa: ANN401 - a method of the console
        if not self.count:
            return
        write(f"{self._title}: {counted(self.count, 'job')}")
        for line in self._lines:
            write(line)
        if self.count > len(self._lines):
            write(f"  … and {self.count - len(self._lines):,} more")


class Tally:
    """Counts what became of the jobs of an act, and tells it.

    Args:
        act: The act.
        of: How many jobs it is for.
        console: Where to tell it.
        as_json: Whether each job is told of by a JSON object, as it comes.
    """

    def __init__(self, act: Act, of: int, console: Console, *, as_json: bool) -> None:
        self._act = act
        self._of = of
        self._console = console
        self._as_json = as_json
        self._done: Counter[str] = Counter()  # by the participle
        self._passed_over = _Left("passed over")
        self._failed = _Left("failed")
        self._is_damaged = False
        self._newest: Mapping[str, Any] = {}

    @property
    def count(self) -> int:
        """How many jobs have been counted."""
        return self._done.total() + self._passed_over.count + self._failed.count

    def add_page(self, answers: Sequence[Mapping[str, Any]]) -> bool:
        """Count the answers for a page of jobs; return whether it makes sense to go on."""
        failed_before = self._failed.count
        for answer in answers:
            self._add(answer)
        for answer in answers if self._as_json else ():  # last: its reader may be gone
            self._console.json(answer)
        self._console.flush()  # if this is killed, what was done has been told
        return self._failed.count - failed_before < len(answers)

    def _add(self, answer: Mapping[str, Any]) -> None:
        self._newest = answer
        error = answer.get("error")
        if error is None:
            self._done[self._done_to(answer["job"])] += 1
        else:
            self._is_damaged |= error["name"] in _DAMAGE
            left = self._passed_over if error["name"] in REFUSALS else self._failed
            left.add(answer["job_id"], error["text"])

    def _done_to(self, job: Mapping[str, Any]) -> str:
        return self._act.done if self._act.done_to is None else self._act.done_to(job)

    def _sum(self) -> str:
        """Return on how many jobs the act was done: "cancelled: 3 jobs; asked to stop: 2"."""
        done = self._done or {self._act.done: 0}
        (how, jobs), *others = sorted(done.items(), key=lambda each: each[0] != self._act.done)
        parts = [f"{other}: {number:,}" for other, number in others]
        return "; ".join([f"{how}: {counted(jobs, 'job')}", *parts])

    def write(self) -> Exit:
        """Tell it; return the exit code."""
        write = self._console.note if self._as_json else self._console.line
        if self._of == 1 and self.count == 1:
            self._write_one()
        else:
            write(self._sum())
            self._passed_over.write(write)
            self._failed.write(write)
            if self._of > self.count:
                write(f"not tried: {counted(self._of - self.count, 'job')}")
        if self._is_damaged:
            return Exit.DAMAGED
        if self._failed.count or self._of > self.count:
            return Exit.UNREADABLE
        return Exit.REFUSED if self._passed_over.count else Exit.OK

    def _write_one(self) -> None:
        error = self._newest.get("error")
        if error is not None:
            self._console.note(f"engine: {error['text']}")
        elif not self._as_json:
            job_id, job = self._newest["job_id"], self._newest["job"]
            new = "" if job["job_id"] == job_id else f"{job_id} as "  # a repeat, a follow-up
            line = job_line(job, _TEXT_COLUMNS)
            self._console.line(f"{self._done_to(job)}: {new}{line}")
