"""The JSON API under thousands of requests that its description allows, and that it forbids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import sampled_from

from engine.operations import OPERATIONS
from tests.tries import first_seed, report, tries
from tests.unit.web.dashboard.app import TOKEN
from tests.unit.web.dashboard.browsing import ROOT
from tests.unit.web.serving import Service

if TYPE_CHECKING:
    from schemathesis import Case, GenerationMode

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        find_spec("schemathesis") is None,
        reason="needs schemathesis: pip install -e '.[fuzz]'",
    ),
]

CASES = tries(5_000)
OVERLOADED = 503


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service("uvicorn", "tests.unit.web.dashboard.app:app", "--log-level", "info")
    service.client.headers["Authorization"] = f"Bearer {TOKEN}"
    try:
        yield service
    finally:
        service.kill()


def strategies(service: Service, mode: GenerationMode) -> Iterator[Any]:
    """Yield the requests to each operation but the stream, which has no end."""
    from schemathesis import GenerationMode, openapi  # noqa: PLC0415 - it may not be installed

    described = service.client.get(f"{ROOT}/api/openapi.json").raise_for_status().json()
    del described["security"]  # each request has the token
    schema = openapi.from_dict(described)
    for name, operation in OPERATIONS.items():
        if mode is GenerationMode.NEGATIVE and not operation.arguments.__struct_fields__:
            continue  # nothing can be wrong
        path = schema[f"/api/{name}"]
        [method] = path
        yield path[method].as_strategy(generation_mode=mode)


@pytest.mark.parametrize("allowed", [True, False])
def test_no_request_finds_a_bug(service: Service, *, allowed: bool) -> None:
    from schemathesis import GenerationMode  # noqa: PLC0415 - as above

    mode = GenerationMode.POSITIVE if allowed else GenerationMode.NEGATIVE
    found = list(strategies(service, mode))
    statuses = Counter[int]()
    jobs = [
        service.client.post("/create", params=query).json()
        for query in ({"kind": "ask", "start": "1"}, {"kind": "later"}, {"kind": "later"})
    ]

    for strategy in found:

        @seed(first_seed())
        @settings(
            max_examples=max(5, CASES // 2 // len(found)),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy, job_id=sampled_from([*jobs, None]))
        def ask(case: Case[Any], job_id: str | None) -> None:
            if "wait" in (case.query or {}):
                case.query["wait"] = 0
            for part in (case.query, case.body):
                if job_id is not None and isinstance(part, dict) and "job_id" in part:
                    part["job_id"] = job_id
            headers = {"Authorization": f"Bearer {TOKEN}", "Prefer": "wait=0"}
            address = str(service.address.join(ROOT))
            answer = case.call(base_url=address, headers=headers)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500 or answer.status_code == OVERLOADED, answer.text

        ask()
    report(f"answers of the API: {dict(sorted(statuses.items()))}")
    assert statuses[200 if allowed else 422]
    assert "Traceback" not in service.log
