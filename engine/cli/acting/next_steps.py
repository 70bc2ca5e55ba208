"""Next steps: what can be done with a job that has refused an act."""

from __future__ import annotations

import shlex
from argparse import Namespace
from contextlib import suppress
from typing import Final

from engine.cli.console import Console
from engine.domain.exceptions import StorageError
from engine.operating import lifecycle_in
from engine.operations.possible import possible_acts
from engine.portal.time import utc_now


def write_next_steps(act: str, job_id: str, arguments: Namespace, console: Console) -> None:
    """Write the commands that a job takes now, other than the act that it has refused."""
    place = arguments.place
    with suppress(StorageError), place.reading() as view:
        job = view.job(job_id)
        if job is None:
            return
        possible = possible_acts(job, lifecycle_in(place, view), view.rules(), utc_now())
        steps = [name for name in possible if name in _STEPS and name != act]
        for name in [*steps, "show"]:
            words = shlex.join([name, place.name, job_id])
            console.note(f"  or: {arguments.program} {words}{_STEPS.get(name, '')}")


_STEPS: Final = {
    **dict.fromkeys(("repeat", "answer", "retry", "start", "cancel"), ""),
    "follow-up": " RULE",
}
"""The acts that are told, with what stands behind the job. The others need more thought."""
