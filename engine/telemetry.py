"""Telemetry: report transitions and attempts to OpenTelemetry, as metrics and spans.

Needs OpenTelemetry's API: ``pip install 'engine[telemetry]'``. The SDK that your program sets up
decides where the figures go. ::

    telemetry = Telemetry()

    async with (
        JobEngine("jobs.db", on_transition=telemetry.on_transition) as engine,
        Worker(engine, handle, middleware=[telemetry.attempt]),
    ):
        ...

It uses only these two public hooks, and may serve any number of engines and workers.

=========================== =============== ============= ======================================
metric                      instrument      unit          attributes
=========================== =============== ============= ======================================
``engine.job.transitions``  counter         {transition}  ``engine.job.to_status``, and
                                                          ``engine.job.from_status`` if not new
``engine.attempt.active``   up-down counter {attempt}
``engine.attempt.duration`` histogram       s             ``engine.attempt.outcome``, and
                                                          ``error.type`` if it failed
=========================== =============== ============= ======================================

The count of the histogram is the number of attempts. An outcome is ``succeeded``, ``failed``,
``asking`` (the handler asked for an input) or ``stopped`` (the job was cancelled or moved, or the
worker closed). An attempt that took too long has failed.

Each attempt is a span ``engine.attempt`` in a trace of its own. It is linked to the span of the
job's submitter, if `JobEngine.create` got its ``trace``::

    carrier: dict[str, str] = {}
    propagate.inject(carrier)  # of `opentelemetry`
    await engine.create("2c26b46b…", trace=carrier)

The span has ``engine.job.id``, ``engine.attempt.number`` and the outcome. The span of a failed
attempt has the error as an event, and the status ``ERROR``. Spans that the handler starts are its
children, in the handler's thread too, but not in another process. Names and units follow
OpenTelemetry's conventions for metrics and for recording errors
(https://opentelemetry.io/docs/specs/semconv/general/). Those for messaging don't fit: they describe
brokers, and are experimental.

``statistics()`` returns the jobs that the engine holds. It is awaited, so an asynchronous
instrument can't observe it: set gauges (``meter.create_gauge``) in a task that calls it
periodically.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

from engine.domain.exceptions import AttemptTimeoutError, HandlerError
from engine.domain.models import Job, Transition
from engine.worker import Context
from engine.worker.context import InputNeeded

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "engine.telemetry needs OpenTelemetry: pip install 'engine[telemetry]'", name=missing.name
    ) from missing

__all__ = ["Telemetry"]

# From 5 ms, an attempt with little to do, to a day; OpenTelemetry's defaults end at 10 s.
_BOUNDARIES_SECONDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0),
)


_W3C: Final = TraceContextTextMapPropagator()


class Telemetry:
    """Reports to OpenTelemetry; see the module.

    Args:
        meter_provider: Receives the metrics; the global one by default.
        tracer_provider: Receives the spans; the global one by default.
    """

    def __init__(
        self,
        meter_provider: metrics.MeterProvider | None = None,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        meter = metrics.get_meter("engine", meter_provider=meter_provider)
        self._tracer = trace.get_tracer("engine", tracer_provider=tracer_provider)
        self._transitions = meter.create_counter(
            "engine.job.transitions", "{transition}", "Creations and moves of jobs."
        )
        self._active = meter.create_up_down_counter(
            "engine.attempt.active", "{attempt}", "Running attempts."
        )
        self._duration = meter.create_histogram(
            "engine.attempt.duration",
            "s",
            "Duration of attempts.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES_SECONDS,
        )

    def on_transition(self, transition: Transition[Any]) -> None:
        """Count a transition; pass this as ``on_transition`` of an engine."""
        attributes = {"engine.job.to_status": str(transition.to_status.value)}
        if transition.from_status is not None:
            attributes["engine.job.from_status"] = str(transition.from_status.value)
        self._transitions.add(1, attributes)

    @contextmanager
    def attempt(self, context: Context[Any]) -> Iterator[None]:
        """Measure and trace an attempt; pass this in ``middleware`` of a worker."""
        begun = perf_counter()
        self._active.add(1)
        attributes: dict[str, str] = {}
        try:
            with self._span(context) as span:
                try:
                    yield
                except BaseException as error:
                    attributes.update(_outcome(error, is_stopping=context.is_stopping))
                    _tell(span, error, attributes)
                    raise
                attributes["engine.attempt.outcome"] = "succeeded"
                _tell(span, None, attributes)
        finally:
            self._active.add(-1)
            self._duration.record(perf_counter() - begun, attributes)

    def _span(self, context: Context[Any]) -> Any:  # noqa: ANN401 - its type is private to the API
        """Return the span of an attempt, as a context manager.

        It has no parent: an attempt begins in an empty context.
        """
        return self._tracer.start_as_current_span(
            "engine.attempt",
            context=otel_context.Context(),
            links=_links(context.job),
            attributes={
                "engine.job.id": context.job.job_id,
                "engine.attempt.number": context.attempt,
            },
            record_exception=False,
            set_status_on_exception=False,
        )


def _links(job: Job[Any]) -> list[trace.Link]:
    """Return the link to the span of a job's submitter, if it is known."""
    if job.trace is None:
        return []
    submitted = _W3C.extract(job.trace, otel_context.Context())
    span_context = trace.get_current_span(submitted).get_span_context()
    return [trace.Link(span_context)] if span_context.is_valid else []


def _outcome(error: BaseException, *, is_stopping: bool) -> dict[str, str]:
    """Return the outcome of an attempt that ended by an error, as attributes."""
    if isinstance(error, InputNeeded):
        return {"engine.attempt.outcome": "asking"}
    if is_stopping and not isinstance(error, AttemptTimeoutError):
        return {"engine.attempt.outcome": "stopped"}
    return {"engine.attempt.outcome": "failed", "error.type": _type_of(error)}


def _type_of(error: BaseException) -> str:
    if isinstance(error, HandlerError):
        return error.kinds[0].removeprefix("builtins.")
    kind = type(error)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def _tell(span: trace.Span, error: BaseException | None, attributes: dict[str, str]) -> None:
    """Record the outcome in the span."""
    span.set_attributes(attributes)
    if error is not None and "error.type" in attributes:
        span.record_exception(error)
        span.set_status(trace.Status(trace.StatusCode.ERROR, attributes["error.type"]))
