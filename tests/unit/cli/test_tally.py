"""The tally of an act: what is told of the jobs, by the answers."""

from __future__ import annotations

from typing import Any

import pytest

from engine.cli.acting.act import Act
from engine.cli.acting.tally import Tally
from engine.cli.commands.cancel import done_to
from engine.cli.console import Console

_CANCEL = Act(
    name="cancel", done="cancelled", summary="", help_order=0, able=lambda _: (), done_to=done_to
)
_ENDED = {"status": "cancelled", "outcome": "cancelled"}
_HELD = {"status": "running"}


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        ([_ENDED, _HELD, _ENDED, _HELD, _ENDED], "cancelled: 3 jobs; asked to stop: 2"),
        ([_HELD, _HELD], "asked to stop: 2 jobs"),
        ([_HELD, _ENDED], "cancelled: 1 job; asked to stop: 1"),
        ([_ENDED, _ENDED], "cancelled: 2 jobs"),
        ([_HELD], "asked to stop: job-0 running"),
    ],
)
def test_jobs_count_by_what_became_of_them(
    jobs: list[dict[str, Any]], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally(_CANCEL, len(jobs), Console(), as_json=False)
    ids = map("job-{}".format, range(9))
    tally.add_page(
        [
            {"job_id": name, "job": {"job_id": name, **job}}
            for name, job in zip(ids, jobs, strict=False)
        ]
    )
    assert tally.write() == 0
    assert capsys.readouterr().out.splitlines() == [told]
