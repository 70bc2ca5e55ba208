"""Bulk acts: one act on each job of a page, each as it was seen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from anyio import create_task_group
from msgspec import UNSET, Struct, UnsetType, field, to_builtins

from engine.domain.exceptions import EngineError, InvalidValueError, shown
from engine.operations.acts import ACTS, Act, told
from engine.operations.operation import Arguments, Operation
from engine.owner.core import Core
from engine.storage.record import Record

MAX_BULK_JOBS: Final = 100

_ACTS: Final[Mapping[str, Act[Any]]] = {act.name: act for act in ACTS}


class Seen(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job as the caller has seen it."""

    job_id: str
    expected_status: str | UnsetType = UNSET
    expected_version: int | UnsetType = UNSET
    expected_attempt: int | UnsetType = UNSET
    expected_deadline: float | str | UnsetType | None = UNSET
    """Of ``extend``."""


class OfEach(Arguments, kw_only=True, frozen=True):
    """An act on up to 100 jobs; ``arguments`` are its own, the same for all."""

    act: str
    jobs: list[Seen]
    arguments: dict[str, Any] = field(default_factory=dict)


async def _each(core: Core[Any], given: OfEach, by: str | None) -> list[dict[str, Any]]:
    act = _ACTS.get(given.act)
    if act is None:
        raise InvalidValueError("act", f"{shown(given.act)} is not one of {', '.join(_ACTS)}")
    if len(given.jobs) > MAX_BULK_JOBS:
        raise InvalidValueError(
            "jobs", f"must be up to {MAX_BULK_JOBS}, not {len(given.jobs):,}; send them in parts"
        )
    checked = [act.checked({**given.arguments, **to_builtins(seen)}) for seen in given.jobs]
    outcomes: list[dict[str, Any]] = [{} for _ in checked]

    async def one(place: int, do: Callable[[], Awaitable[Record]]) -> None:
        job_id = given.jobs[place].job_id
        try:
            job = told(core, await do(), whole=False)
            outcomes[place] = {"job_id": job_id, "job": job}
        except EngineError as error:
            problem = {"name": type(error).__name__, "text": str(error)}
            outcomes[place] = {"job_id": job_id, "error": problem}

    async with create_task_group() as tasks:  # all at once, so that they share commits
        for place, arguments in enumerate(checked):
            tasks.start_soon(one, place, partial(act.do, core, arguments, by))
    return outcomes


EACH: Final = Operation("each", "carry out an act on several jobs", OfEach, _each, acts=True)
"""Answers for each job the ``job`` as the act answers it, or the ``error`` that refused it.

The job comes without its ``input``, its hash and ``result``, which the operation ``job`` answers: a
hundred of them would hold up the event loop."""
