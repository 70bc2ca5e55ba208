"""An agent that sells summaries by the rules of the Masumi network: paid, delivered, settled.

::

    pip install '.[agent]'
    python examples/payment_service.py 8100 &
    PAYMENT_SERVICE=http://127.0.0.1:8100 uvicorn --app-dir examples agent:app

Calls and statuses are those of MIP-003, hashes those of MIP-004
(https://github.com/masumi-network/masumi-improvement-proposals). Kill the agent at any moment and
start it again: it goes on, and so does the money. Authentication is missing: whoever knows the id
of a job may answer its question and cancel it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
import httpx
import rfc8785
from fastapi import Body, FastAPI
from pydantic import BaseModel, Field

import engine
from engine import AgentJobStatus as S
from engine import Context, FollowUp, Handler, Job, Retry
from engine.web import install_errors

Json = dict[str, Any]
PAUSE = float(os.environ.get("AGENT_PAUSE", "5"))  # seconds between looks for payments
PAY_WITHIN = float(os.environ.get("AGENT_PAY_WITHIN", "600"))  # seconds
WORK_WITHIN = float(os.environ.get("AGENT_WORK_WITHIN", "86400"))  # seconds
LONG_WORDS = 100  # the buyer of a longer text is asked for a length


# --- the work -------------------------------------------------------------------------------------
class Text(BaseModel):
    """The ``input_data`` of an order."""

    text: str = Field(min_length=1, max_length=100_000)


class Length(BaseModel):
    """The answer to the question."""

    words: int = Field(ge=1, le=LONG_WORDS)


class Order(BaseModel):
    """What a buyer sends to ``/start_job``."""

    identifier_from_purchaser: str = Field(min_length=1, max_length=200)
    input_data: Text


def hash_of(*parts: str) -> str:
    """Return the SHA-256 of texts that are joined by semicolons, as MIP-004 says."""
    return hashlib.sha256(";".join(parts).encode()).hexdigest()


def input_hash(order: Order, data: BaseModel) -> str:
    """Return the hash of an input: of the purchaser's identifier and the canonical JSON."""
    return hash_of(order.identifier_from_purchaser, rfc8785.dumps(data.model_dump()).decode())


async def summarize(order: Order, context: Context[S]) -> Json:
    """Return the beginning of a text, and its hash; ask first how much of a long text."""
    words, hashes = order.input_data.text.split(), [input_hash(order, order.input_data)]
    if len(words) > LONG_WORDS:
        answer = context.request_input(Length, question="How many words?")
        words, hashes = words[: answer.words], [*hashes, input_hash(order, answer)]
    await anyio.sleep(PAUSE)  # slow work
    if not words:
        raise ValueError("there is no word in the text")
    result = " ".join(words)
    proof = hash_of(*hashes, order.identifier_from_purchaser, result)
    return {"result": result, "result_hash": proof}


# --- the money ------------------------------------------------------------------------------------
payments = httpx.AsyncClient(base_url=os.environ.get("PAYMENT_SERVICE", "http://127.0.0.1:8100"))


async def ask(path: str, **body: object) -> Json:
    """Ask the payment service; an answer that is no success is an error, and so tried again."""
    return dict((await payments.post(path, json=body)).raise_for_status().json())


async def paid(jobs: engine.WaitingJobs[S]) -> list[Job[S]]:
    """Return the jobs whose money has come."""
    held = set((await payments.get("/held")).raise_for_status().json()["held"])
    return [job for job in jobs if job.payment_id in held]


async def settle(_job: Job[S], context: Context[S]) -> None:
    """Submit the hash of the result until the payment service confirms it."""
    name, proof = context.parent.payment_id, context.parent.value["result_hash"]
    told = await ask("/settle", payment_id=name, result_hash=proof, key=context.key)
    if told["state"] != "confirmed":
        raise RuntimeError("accepted, and not confirmed yet")


async def give_back(_job: Job[S], context: Context[S]) -> Json:
    """Give the money back. A payment that never came is closed, so that it never comes."""
    return await ask("/refund", payment_id=context.parent.payment_id, key=context.key)


# --- the agent ------------------------------------------------------------------------------------
RULES = [
    FollowUp("settle", to={S.COMPLETED}),
    FollowUp("refund", to={S.FAILED}, started=True),  # paid, and failed, expired or cancelled
    FollowUp("close", to={S.FAILED}, started=False),  # so that no money comes any more
]
place = os.environ.get("AGENT_JOBS", "agent.db")
jobs = engine.JobEngine(place, lifecycle=engine.AGENT_JOB_LIFECYCLE, follow_ups=RULES)
PATIENT = Retry(40, first_delay_seconds=PAUSE, max_delay_seconds=10_800)  # for days
handlers: dict[str, Handler[Any, Any]] = {
    "summary": Handler(summarize, retry=Retry(3, first_delay_seconds=PAUSE)),
    "settle": Handler(settle, retry=PATIENT),
    **dict.fromkeys(("refund", "close"), Handler(give_back, retry=PATIENT)),
}


@asynccontextmanager
async def open_agent(_app: FastAPI) -> AsyncIterator[None]:
    """Work from the server's startup to its shutdown."""
    async with jobs, engine.Gate(jobs, paid, interval_seconds=PAUSE), engine.Worker(jobs, handlers):
        yield


app = FastAPI(title="An agent", lifespan=open_agent)
install_errors(app)
Id = Annotated[str, Body(embed=True)]


async def order_of(job_id: str) -> Job[S]:
    """Return a job that a buyer has started; the follow-ups are the agent's own."""
    if (job := await jobs.get(job_id)).parent_id is not None:
        raise engine.JobNotFoundError(job_id)
    return job


@app.post("/start_job")
async def start_job(order: Order) -> Json:
    """Take an order. The payment is asked for first: nobody pays for what the agent forgot."""
    limits = {"pay_within_seconds": PAY_WITHIN, "submit_within_seconds": WORK_WITHIN}
    payment, proof = await ask("/payments", **limits), input_hash(order, order.input_data)
    times, name = ("payByTime", "submitResultTime"), payment["blockchainIdentifier"]
    pay_by, submit_by = (datetime.fromtimestamp(payment[each], UTC) for each in times)
    ends = {S.AWAITING_PAYMENT: pay_by, S.RUNNING: submit_by, S.AWAITING_INPUT: submit_by}
    job = await jobs.create(proof, kind="summary", input=order, payment_id=name, deadlines=ends)
    told = {"id": f"{job.job_id}.{job.version}", "status": "success", "job_id": job.job_id}
    purchaser = {"identifierFromPurchaser": order.identifier_from_purchaser, "input_hash": proof}
    return payment | told | purchaser


@app.get("/status")
async def status(job_id: str) -> Json:
    """Return the status of a job; a job that asks shows its question, and its ``id`` names it."""
    job = await order_of(job_id)
    shown: Json = {"id": f"{job.job_id}.{job.version}", "job_id": job_id, "status": job.status}
    if job.prompt is not None:
        field = {"id": "words", "type": "number", "name": job.prompt.question}
        shown |= {"id": job.prompt.prompt_id, "input_schema": {"input_data": [field]}}
    if job.status is S.COMPLETED:
        shown["result"] = job.value["result"]
    return shown


@app.post("/provide_input")
async def provide_input(job_id: Id, status_id: Id, input_data: Length) -> Json:
    """Answer the question of a job."""
    order = Order.model_validate((await order_of(job_id)).input)
    await jobs.provide_input(job_id, status_id, input_data)
    return {"status": "success", "input_hash": input_hash(order, input_data)}


@app.post("/cancel")
async def cancel(job_id: Id) -> Json:
    """Cancel a job. MIP-003 has no such call: a buyer who pays may want one."""
    return {"status": (await jobs.cancel((await order_of(job_id)).job_id, "by the buyer")).status}


@app.get("/availability")
async def availability() -> Json:
    """Return whether the engine can be called."""
    return {"status": "available" if jobs.healthy else "unavailable", "type": "masumi-agent"}


@app.get("/input_schema")
async def input_schema() -> Json:
    """Describe the input of a job."""
    return {"input_data": [{"id": "text", "type": "string", "name": "The text"}]}
