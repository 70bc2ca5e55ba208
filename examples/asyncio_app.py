"""An asyncio application: customers order, a payment webhook starts jobs, workers run them.

::

    python examples/asyncio_app.py

It shows the everyday troubles of such a service: an order that is sent twice because the first
answer got lost, a webhook that is delivered twice, a worker that has to ask its customer, a payment
that comes too late.
"""

from __future__ import annotations

import asyncio

from engine import AGENT_JOB_LIFECYCLE, AgentJobStatus, Job, JobEndedError, JobEngine

Engine = JobEngine[AgentJobStatus]
ReadyJobs = asyncio.Queue[str]  # the ids of paid jobs


async def order(engine: Engine, customer: str, work: str) -> Job[AgentJobStatus]:
    """Create a customer's job. The key makes it safe to repeat the order."""
    job = await engine.create(work, idempotency_key=f"{customer}'s order")
    print(f"{customer} ordered {work}: {job.status.value}")
    return job


async def order_on_a_bad_line(engine: Engine, customer: str, work: str) -> Job[AgentJobStatus]:
    """Hang up before the answer arrives, and order again: there is one job."""
    first_try = asyncio.create_task(order(engine, customer, work))
    await asyncio.sleep(0)  # the order is sent, and not answered yet
    first_try.cancel()
    await asyncio.wait([first_try])
    print(f"{customer} lost the connection: job created or not? unknown")
    return await order(engine, customer, work)


async def on_paid(
    engine: Engine, ready: ReadyJobs, customer: str, job: Job[AgentJobStatus]
) -> None:
    """Handle a payment webhook. It may come twice, or too late."""
    try:
        started = await engine.start(job.job_id, by="the payment service")
    except JobEndedError as error:
        print(f"webhook for {customer} refused: {type(error).__name__}")
        return
    print(f"webhook for {customer}:", "paid" if started.first else "repeated")
    if started.first:
        ready.put_nowait(job.job_id)


async def work(engine: Engine, ready: ReadyJobs) -> None:
    """Run paid jobs, one after another. Each asks its customer a question."""
    while True:
        job_id = await ready.get()
        asking = AgentJobStatus.AWAITING_INPUT
        await engine.transition(job_id, asking)
        await asyncio.sleep(0.01)  # the customer thinks and answers
        await engine.transition(job_id, AgentJobStatus.RUNNING, expected_status=asking)
        await engine.transition(job_id, AgentJobStatus.COMPLETED, result="done as you like it")
        ready.task_done()


async def serve(engine: Engine, ready: ReadyJobs) -> None:
    """Let three customers order. Two pay in time."""
    ann = await order(engine, "Ann", "a report")
    ben = await order(engine, "Ben", "a summary")
    cid = await order_on_a_bad_line(engine, "Cid", "a poem")
    await on_paid(engine, ready, "Ann", ann)
    await on_paid(engine, ready, "Cid", cid)
    await on_paid(engine, ready, "Cid", cid)
    await ready.join()
    await engine.transition(ben.job_id, AgentJobStatus.FAILED, error="not paid in time")
    await on_paid(engine, ready, "Ben", ben)


async def main() -> None:
    """Run the engine, two workers and the service, and print the history of each job."""
    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        ready: ReadyJobs = asyncio.Queue()
        workers = [asyncio.create_task(work(engine, ready)) for _ in range(2)]
        await serve(engine, ready)
        for worker in workers:
            worker.cancel()
        for job in (await engine.list_jobs()).jobs:
            steps = [line.to_status.value for line in await engine.history(job.job_id)]
            print(f"{job.input_hash}: {' > '.join(steps)} ({job.result or job.error})")


if __name__ == "__main__":
    asyncio.run(main())
