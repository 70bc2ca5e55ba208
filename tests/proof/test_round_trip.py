"""Any value of a type that pydantic knows comes back: as an input, as an answer, as a result.

The types are generated: models with aliases and alias generators, nested, in unions, generic, with
discriminators; dataclasses and typed dicts; and the plain types of the standard library.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from engine.domain.difference import difference_of
from engine.domain.exceptions import InvalidValueError
from engine.domain.json_text import json_text
from engine.domain.models import Job, JobStatus, Prompt
from engine.domain.set_order import may_hold_sets
from engine.domain.typed_values import read
from engine.owner.prompts import check_answer, prompt_text
from engine.owner.results import result_as
from engine.testing.values import NOON
from engine.worker.results import Results
from engine.worker.signature import Signature
from tests.proof.typed_models import Case, cases
from tests.tries import tries

LONGEST = 100_000
SETTINGS = settings(
    max_examples=tries(3_000),
    report_multiple_bugs=False,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
JOB: Job[Any] = Job(
    job_id="job",
    status=JobStatus.COMPLETED,
    input_hash="hash",
    blockchain_identifier="payment",
    created_at=NOON,
    updated_at=NOON,
)


def comes_back(case: Case) -> None:
    """Check one value in all three ways.

    Raises:
        AssertionError: It doesn't come back.
        InvalidValueError: It is refused.
    """
    assert may_hold_sets(case.adapter.core_schema) or not has_set(
        case.adapter.dump_python(case.value)
    )
    text = json_text("input", case.value, LONGEST)
    assert difference_of(case.value, read(case.adapter, text)) is None
    prompt = Prompt.model_validate_json(prompt_text("prompt", case.kind, "name", None))
    check_answer(JOB.model_copy(update={"prompt": prompt}), "prompt", text)
    for annotation in (case.kind, None):
        results = Results(Signature([], annotation))
        if isinstance(case.value, str) and "\0" in case.value:  # a result that is stored as it is
            with pytest.raises(InvalidValueError, match="NUL"):
                results.result(case.value)
            continue
        result = results.result(case.value)
        assert result.lost is None
        job = JOB.model_copy(update={"result": result.text, "result_form": result.form})
        assert difference_of(case.value, result_as(job, case.kind)) is None


def has_set(plain: object) -> bool:
    """Look for a set in a dump of Python's own types."""
    if isinstance(plain, dict):
        return any(map(has_set, plain.values()))
    return isinstance(plain, set) or (isinstance(plain, list) and any(map(has_set, plain)))


@SETTINGS
@given(cases())
def test_every_value_comes_back(case: Case) -> None:
    comes_back(case)


@pytest.mark.thorough
def test_a_dump_that_is_read_as_pydantic_does_by_default_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dumped(adapter: Any, value: object) -> object:  # noqa: ANN401
        return adapter.dump_python(value, mode="json")

    monkeypatch.setattr("engine.domain.json_text.dumped", dumped)
    monkeypatch.setattr("engine.worker.results.dumped", dumped)
    with pytest.raises((AssertionError, ValueError)):
        SETTINGS(given(cases())(comes_back))()
