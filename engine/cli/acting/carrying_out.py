"""Carrying out: an act on the chosen jobs, a page of them at a time."""

from __future__ import annotations

from argparse import Namespace

import anyio

from engine.cli.acting.act import Act
from engine.cli.acting.chosen import Chosen
from engine.cli.acting.next_steps import write_next_steps
from engine.cli.acting.tally import Tally
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.domain.exceptions import EngineError, InvalidValueError, StorageError
from engine.operating import desk_at, this_operator
from engine.operations.bulk import MAX_BULK_JOBS
from engine.storage.protocol import ProgressCallback


def carry_out(act: Act, chosen: Chosen, arguments: Namespace, console: Console) -> Exit:
    """Carry out an act, and tell what became of each job.

    Raises:
        StorageError: The place can't be opened, or can't be written any more.
    """
    tally = Tally(act, len(chosen.jobs), console, as_json=arguments.json)
    try:
        with console.progress(f"{act.name} {arguments.place.name}", "jobs") as progress:
            anyio.run(_act_on_all, act, chosen, arguments, tally, progress)
    except StorageError:
        _write_begun(tally)
        raise
    except EngineError as error:
        _write_begun(tally)
        console.note(f"engine: {error}")
        return Exit.USAGE if isinstance(error, InvalidValueError) else Exit.UNREADABLE
    except BaseException:  # Ctrl-C, and a reader of the output that is gone
        _write_begun(tally)
        raise
    code = tally.write()
    if code is Exit.REFUSED and len(chosen.jobs) == 1:
        write_next_steps(act.name, chosen.jobs[0].job_id, arguments, console)
    return code


def _write_begun(tally: Tally) -> None:
    """Tell what was done before something went wrong."""
    if tally.count:
        tally.write()


async def _act_on_all(
    act: Act, chosen: Chosen, arguments: Namespace, tally: Tally, progress: ProgressCallback
) -> None:
    own = {**act.arguments(arguments), "reason": arguments.reason}
    who, jobs = this_operator(), chosen.jobs
    async with desk_at(arguments.place) as desk:
        for begin in range(0, len(jobs), MAX_BULK_JOBS):
            progress(begin, len(jobs))
            page = [job.fields(act) for job in jobs[begin : begin + MAX_BULK_JOBS]]
            each = {"act": act.name, "jobs": page, "arguments": own}
            if not tally.add_page(await desk.do("each", each, by=who)):
                return
