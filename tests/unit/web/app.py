"""A service of the parts of `engine.web`, which the tests run by real servers."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine import JobEngine, JobStatus
from engine.web import event_stream, health_response, install_errors, wait_as_preferred

HEARTBEAT_SECONDS = 0.05
JOBS = "TEST_JOBS"
"""The environment's name for the file of the jobs; they stay in memory without one."""


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with JobEngine(os.environ.get(JOBS)) as app.state.engine:
        yield


def engine_of(request: Request) -> JobEngine:
    engine: JobEngine = request.app.state.engine
    return engine


async def create(request: Request) -> Response:
    job = await engine_of(request).create((await request.body()).decode())
    return JSONResponse(job.model_dump(mode="json"), 201)


async def get(request: Request) -> Response:
    job = await wait_as_preferred(
        engine_of(request), request, request.path_params["job_id"], at_most_seconds=3_600
    )
    return JSONResponse(job.model_dump(mode="json"))


async def move(request: Request) -> Response:
    status = JobStatus(request.path_params["status"])
    job = await engine_of(request).transition(request.path_params["job_id"], status)
    return JSONResponse(job.model_dump(mode="json"))


async def pay_many(request: Request) -> Response:
    """Create and start jobs with long names, each in calls of its own."""
    for number in range(int(request.path_params["count"])):
        job = await engine_of(request).create(f"{number} {'x' * 200}")
        await engine_of(request).transition(job.job_id, JobStatus.RUNNING)
    return Response()


async def events(request: Request) -> Response:
    return event_stream(
        engine_of(request),
        request,
        request.path_params.get("job_id"),
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )


async def watchers(request: Request) -> Response:
    return JSONResponse((await engine_of(request).statistics()).watchers)


async def health(request: Request) -> Response:
    return health_response(engine_of(request))


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/jobs", create, methods=["POST"]),
        Route("/jobs/{job_id}", get),
        Route("/jobs/{job_id}/events", events),
        Route("/jobs/{job_id}/{status}", move, methods=["POST"]),
        Route("/pay/{count}", pay_many, methods=["POST"]),
        Route("/events", events),
        Route("/watchers", watchers),
        Route("/health", health),
    ],
)
install_errors(app)
