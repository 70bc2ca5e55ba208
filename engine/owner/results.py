"""Results: read what a job has kept as the type that a caller asks for."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.models import Job
from engine.domain.reading_steps import steps_of_reading
from engine.domain.typed_values import problem_of, read


def result_as(job: Job[Any], kind: Any) -> Any:  # noqa: ANN401 - as it is asked for
    """Return the result of a job as a kind of value; see `engine.JobEngine.result`.

    Raises:
        InvalidValueError: The result doesn't fit the kind, or takes too long to read as it; or
            pydantic doesn't know the kind.
    """
    is_text = job.result is not None and job.result_form is None
    if kind is None or (kind is str and is_text):
        return job.result
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        steps_of_reading(adapter)
    except InvalidValueError as error:
        raise InvalidValueError("kind", f"{shown(kind)} {error.problem}") from None
    except Exception as error:  # pydantic's own, or the type's
        raise InvalidValueError("kind", f"{shown(kind)} is no type: {problem_of(error)}") from error
    problems = []
    for name, text in _readings(job.result, is_text=is_text):
        try:
            return read(adapter, text)
        except Exception as error:  # noqa: BLE001 - validators may raise anything
            problems.append(f"{name}: {problem_of(error)}")
    raise InvalidValueError("kind", f"{shown(kind)} doesn't fit the result {', '.join(problems)}")


def _readings(result: str | None, *, is_text: bool) -> list[tuple[str, str]]:
    """Return the ways to read a result, the likely one first, each as JSON."""
    if result is None:
        return [("None", "null")]
    readings = [("as JSON", result), ("as a text", json.dumps(result))]
    return readings[::-1] if is_text else readings
