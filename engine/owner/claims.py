"""Claims: ready jobs go to those who want to run them, in the batch in which they become ready.

A claim that finds nothing is parked, and looked at again at every turn that writes. So a job that
is moved on by its payment is claimed in the same commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from engine.domain.exceptions import EngineError
from engine.owner.decisions import Decisions
from engine.owner.messages import ClaimJobs, Write
from engine.owner.reads import refuse
from engine.owner.ready_queue import Agenda, rank
from engine.storage.record import (
    Record,
)

Served: TypeAlias = Sequence[tuple[ClaimJobs, Sequence[Record]]]
"""Claims, and the jobs that each gets."""


class Claims:
    """The claims that wait for jobs.

    Args:
        agenda: Says which committed jobs are ready.
    """

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._parked: list[ClaimJobs] = []
        self._in_doubt: list[Record] = []  # claimed, in a commit of which nothing is known yet
        # Claimed, and whoever wanted them was refused: by the tokens, the jobs' ids.
        self._found: dict[str, str] = {}

    def add(self, messages: Sequence[Write]) -> None:
        """Park the claims among the messages of a turn."""
        self._parked += [each for each in messages if isinstance(each, ClaimJobs)]

    def decide(self, decisions: Decisions) -> Served:
        """Decide what each gets, after all else that is decided in the batch."""
        served: list[tuple[ClaimJobs, Sequence[Record]]] = []
        for record in self._still_found(decisions):
            decisions.give_back(record)
        for claim in self._parked:
            records = [] if claim.given_up else self._serve(claim, decisions)
            if records or claim.given_up:
                served.append((claim, records))
        return served

    def _still_found(self, decisions: Decisions) -> list[Record]:
        """Return those of the found jobs that the same attempt has still, as they are now."""
        records = map(decisions.batch.newest, self._found.values())
        return [each for each in records if each and _token(each) in self._found]

    def _serve(self, claim: ClaimJobs, decisions: Decisions) -> list[Record]:
        served: list[Record] = []
        while wanted := claim.limit - len(served):
            changed = decisions.batch.changed()
            ready = self._agenda.ready(wanted, changed)
            ready += [each for each in changed.values() if decisions.is_ready(each)]
            if not ready:
                break
            for record in sorted(ready, key=rank)[:wanted]:
                if (claimed := decisions.claim(record, claim)) is not None:
                    served.append(claimed)
            if len(ready) < wanted:
                break  # these were all
        return served

    def answer(self, served: Served) -> None:
        """Give committed claims to those who wait for them."""
        for claim, records in served:
            self._parked.remove(claim)
            claim.answer(records)
            claim.told()
        self._found.clear()  # given back, in the same commit

    def doubt(self, served: Served) -> None:
        """Remember claims of which it is not known whether they are committed."""
        self._in_doubt = [record for _, records in served for record in records]

    def resolve(self, *, applied: bool) -> None:
        """Learn whether those are committed; if so, they are given back: nobody works on them."""
        if applied:
            self._found.update((_token(each), each.job_id) for each in self._in_doubt)
        self._in_doubt = []

    def refuse_all(self, error: EngineError) -> None:
        """Answer all claims with an error."""
        refused, self._parked = self._parked, []
        refuse(refused, error)
        for claim in refused:
            claim.told()


def _token(record: Record) -> str:
    return record.execution.token or ""
