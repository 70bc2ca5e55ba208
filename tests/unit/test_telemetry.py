"""Metrics and spans, collected in memory by OpenTelemetry's SDK."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine import AGENT_JOB_LIFECYCLE, Context, Job, JobStatus, Retry
from engine.telemetry import Telemetry
from engine.testing import Lab
from engine.testing.facades import FACADES, opened_engine
from tests.python import run_python
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

OUTCOME = "engine.attempt.outcome"
TWICE = Retry(max_attempts=2, first_delay_seconds=60)
ONCE = Retry(max_attempts=1)


class Collected:
    """The output of a `Telemetry`."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self._tracers = TracerProvider(shutdown_on_exit=False)
        self._tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self._tracers.get_tracer("the application's own")
        self.telemetry = Telemetry(self._meters, self._tracers)

    def points(self, name: str) -> list[Any]:
        """Return the data points of a metric, and the unit of each."""
        data = self._reader.get_metrics_data()
        assert data is not None
        scopes = [scope for each in data.resource_metrics for scope in each.scope_metrics]
        assert {scope.scope.name for scope in scopes} == {"engine"}
        return [
            point
            for scope in scopes
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name == name
        ]

    def attempts(self) -> dict[tuple[object, object], int]:
        """Return the number of attempts, by outcome and type of error."""
        return {
            (point.attributes[OUTCOME], point.attributes.get("error.type")): point.count
            for point in self.points("engine.attempt.duration")
        }

    def active(self) -> int:
        [point] = self.points("engine.attempt.active")
        return int(point.value)

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Return the spans that have ended, in the order of their ends."""
        return self._exporter.get_finished_spans()


@pytest.fixture
def collected() -> Collected:
    return Collected()


def outcome_of(span: ReadableSpan) -> object:
    assert span.attributes is not None
    return span.attributes[OUTCOME]


@pytest.mark.parametrize("facade", FACADES)
async def test_transitions_are_counted_by_their_statuses(
    collected: Collected, facade: type[Any]
) -> None:
    async with opened_engine(facade, on_transition=collected.telemetry.on_transition) as engine:
        for _ in range(3):
            await engine.create("hash")
        await finished(engine)
    counted = {
        (
            point.attributes.get("engine.job.from_status"),
            point.attributes["engine.job.to_status"],
        ): point.value
        for point in collected.points("engine.job.transitions")
    }
    assert counted == {
        (None, "awaiting_payment"): 4,
        ("awaiting_payment", "running"): 1,
        ("running", "completed"): 1,
    }
    assert {type(status) for pair in counted for status in pair if status} == {str}


async def test_attempts_are_measured_and_traced(collected: Collected) -> None:
    active = []

    async def handle(_job: Job, context: Context) -> str:
        active.append(collected.active())
        if context.attempt == 1:
            raise ConnectionError("try later")
        return "done"

    async with Lab(handle, retry=TWICE, middleware=[collected.telemetry.attempt]) as lab:
        job = await lab.run()
    assert job.status is JobStatus.COMPLETED
    assert collected.attempts() == {("failed", "ConnectionError"): 1, ("succeeded", None): 1}
    assert (active, collected.active()) == ([1, 1], 0)
    point: HistogramDataPoint = collected.points("engine.attempt.duration")[0]
    assert 0 < point.sum < 60
    assert (point.explicit_bounds[0], point.explicit_bounds[-1]) == (0.005, 86_400)

    failed, succeeded = collected.spans()
    assert failed.name == succeeded.name == "engine.attempt"
    assert failed.attributes == {
        "engine.job.id": job.job_id,
        "engine.attempt.number": 1,
        OUTCOME: "failed",
        "error.type": "ConnectionError",
    }
    assert failed.status.status_code is trace.StatusCode.ERROR
    [event] = failed.events
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "try later"
    assert "raise ConnectionError" in str(event.attributes["exception.stacktrace"])
    assert succeeded.attributes == {
        "engine.job.id": job.job_id,
        "engine.attempt.number": 2,
        OUTCOME: "succeeded",
    }
    assert (succeeded.status.status_code, succeeded.events) == (trace.StatusCode.UNSET, ())


async def test_what_a_handler_does_belongs_to_its_attempt(collected: Collected) -> None:
    def in_thread(job: Job) -> None:
        with collected.tracer.start_as_current_span(str(job.input)):
            pass

    async def on_loop(job: Job) -> None:
        await anyio.lowlevel.checkpoint()
        in_thread(job)

    handlers: tuple[Callable[[Job], object], ...] = (in_thread, on_loop)
    for handler in handlers:
        with collected.tracer.start_as_current_span("program"):
            async with Lab(handler, middleware=[collected.telemetry.attempt]) as lab:
                jobs = [await lab.start(name) for name in ("a", "b")]
                for job in jobs:
                    await lab.finish(job)
    spans = collected.spans()
    assert len(spans) == 2 * 5
    attempts = {span.context.span_id: span for span in spans if span.name == "engine.attempt"}
    assert len(attempts) == 4
    assert all(span.parent is None for span in attempts.values())
    inner = [span for span in spans if span.name in {"a", "b"}]
    parents = [attempts[span.parent.span_id] for span in inner if span.parent is not None]
    assert len({span.context.span_id for span in parents}) == 4
    for span, parent in zip(inner, parents, strict=True):
        assert span.context.trace_id == parent.context.trace_id
    assert not trace.get_current_span().get_span_context().is_valid


async def test_to_ask_is_no_error(collected: Collected) -> None:
    def ask(_job: object, context: Context) -> str:
        return str(context.request_input(str))

    middleware = [collected.telemetry.attempt]
    async with Lab(ask, lifecycle=AGENT_JOB_LIFECYCLE, middleware=middleware) as lab:
        await lab.answer(await lab.run(), "yes")
    assert collected.attempts() == {("asking", None): 1, ("succeeded", None): 1}
    for span in collected.spans():
        assert (span.status.status_code, span.events) == (trace.StatusCode.UNSET, ())


@pytest.mark.parametrize("in_thread", [False, True])
async def test_to_be_cancelled_is_no_error(collected: Collected, *, in_thread: bool) -> None:
    async def wait(_job: Job) -> None:
        await anyio.sleep_forever()

    def loop(_job: Job, context: Context) -> None:
        while True:
            context.check_cancelled()

    handler: Callable[..., object] = loop if in_thread else wait
    async with Lab(handler, middleware=[collected.telemetry.attempt]) as lab:
        job = await lab.start()
        await anyio.wait_all_tasks_blocked()
        await lab.engine.cancel(job.job_id, "not wanted")
        assert (await lab.finish(job)).cancel_reason == "not wanted"
    assert collected.attempts() == {("stopped", None): 1}
    [span] = collected.spans()
    assert (span.status.status_code, span.events) == (trace.StatusCode.UNSET, ())


async def test_to_take_too_long_is_one(collected: Collected) -> None:
    async def wait(_job: Job) -> None:
        await anyio.sleep_forever()

    middleware = [collected.telemetry.attempt]
    async with Lab(wait, retry=ONCE, timeout_seconds=60, middleware=middleware) as lab:
        await lab.run()
    assert collected.attempts() == {("failed", "engine.domain.exceptions.AttemptTimeoutError"): 1}
    assert outcome_of(collected.spans()[0]) == "failed"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (SystemExit(1), "SystemExit"),
        (ExceptionGroup("many", [ValueError()]), "ExceptionGroup"),
        (anyio.ClosedResourceError(), "anyio.ClosedResourceError"),
    ],
)
async def test_whatever_a_handler_raises_is_told(
    collected: Collected, error: BaseException, name: str
) -> None:
    def fail(_job: Job) -> None:
        raise error

    async with Lab(fail, retry=ONCE, middleware=[collected.telemetry.attempt]) as lab:
        await lab.run()
    assert collected.attempts() == {("failed", name): 1}
    assert collected.active() == 0


async def test_without_an_sdk_nothing_is_told_and_nothing_fails() -> None:
    telemetry = Telemetry()
    async with Lab(str, middleware=[telemetry.attempt]) as lab:
        assert (await lab.run()).status is JobStatus.COMPLETED


@pytest.mark.thorough
def test_without_opentelemetry_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import engine, engine.telemetry"
    run = run_python(program, tmp_path)
    assert run.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: engine.telemetry needs OpenTelemetry: pip install 'engine[telemetry]'"
    )


async def test_spans_are_linked_to_that_of_the_submitter() -> None:
    collected, carrier = Collected(), dict[str, str]()
    with collected.tracer.start_as_current_span("a request") as request:
        TraceContextTextMapPropagator().inject(carrier)
    middleware = [collected.telemetry.attempt]
    async with Lab(lambda _: None, retry=ONCE, middleware=middleware) as lab:
        await lab.run(trace=carrier)
        await lab.run(trace={"traceparent": "no trace"})
        await lab.run()
    spans = [span for span in collected.spans() if span.name == "engine.attempt"]
    linked = [
        [(link.context.trace_id, link.context.span_id) for link in each.links] for each in spans
    ]
    submitter = request.get_span_context()
    assert linked == [[(submitter.trace_id, submitter.span_id)], [], []]
    assert all(span.parent is None for span in spans)
