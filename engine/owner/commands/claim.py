"""Claim ready jobs for new attempts."""

from __future__ import annotations

from collections.abc import Callable
from os import urandom

from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.owner.free_places import FreePlaces
from engine.storage.record import Record


class ClaimJobs(Write):
    """Claim ready jobs for new attempts: up to as many as there are free places, and at least one.

    The claim waits for the first ready job, so a later round may answer it: after all other
    decisions of a batch, `engine.owner.waiting_claims` serves it. Its caller waits for ``notify``.

    Attributes:
        places: The kinds of the worker, with their free places at any time and their rules.
        notify: Called when the claim is answered.
    """

    __slots__ = ("notify", "places")

    def __init__(self, places: FreePlaces, notify: Callable[[], object]) -> None:
        super().__init__()
        self.places = places
        self.notify = notify

    def decide(self, batch: Batch) -> None:
        """See `Write.decide`: a claim waits."""


def claim(batch: Batch, record: Record) -> Record:
    """Give a ready job to a new attempt."""
    return batch.amend(record, record.execution.claimed(urandom(8).hex(), batch.now))
