"""Parts of a service over HTTP, for Starlette and so for FastAPI: errors, events, waits, health.

Needs Starlette: ``pip install 'engine[web]'``. ::

    engine = JobEngine(lifecycle=ORDER_LIFECYCLE)
    app = FastAPI(lifespan=…)
    install_errors(app)

    @app.get("/orders/{job_id}")
    async def get_order(job_id: str, request: Request) -> Job[OrderStatus]:
        return await wait_as_preferred(engine, request, job_id)

    @app.get("/orders/{job_id}/events")
    async def events(job_id: str, request: Request) -> Response:
        return event_stream(engine, request, job_id)

    @app.get("/health")
    async def health() -> Response:
        return health_response(engine)

None of them knows who is asking. Whether a caller may see a job is for the service to decide,
before it calls them.
"""

try:
    import starlette  # noqa: F401 - only here its absence can be told from another one
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "engine.web needs Starlette: pip install 'engine[web]'", name=missing.name
    ) from missing

from engine.portal.server_stops import until_server_stops
from engine.web.errors import install_errors, problem_of, problem_response
from engine.web.events import Show, event_stream
from engine.web.health import health_response
from engine.web.waiting import preferred_wait_seconds, wait_as_preferred

__all__ = [
    "Show",
    "event_stream",
    "health_response",
    "install_errors",
    "preferred_wait_seconds",
    "problem_of",
    "problem_response",
    "until_server_stops",
    "wait_as_preferred",
]
