"""Row 17: kill -9 of a process in the middle of its jobs; the next one runs them again.

Every job ends exactly once, with the result of the attempt that ended it. Each new attempt has a
higher number than the dead ones; a job that may not be repeated fails. A late write of a dead
attempt, with its token, is refused. A job that kills its process fails, and no job beside it.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import anyio
import pytest

from engine import (
    Job,
    JobEngine,
    JobStatus,
    NewJob,
    Retry,
    StaleAttemptError,
    SyncJobEngine,
    Worker,
)
from engine.domain.deaths import NOT_REPEATED
from engine.owner.batch import Batch
from tests.reliability.programs.working import result_of
from tests.reliability.programs.zygote import Life, Zygote, zygote
from tests.systems import needs_fork
from tests.tries import report, rounds, seeded, thorough, tries
from tests.unit.worker.at_work import until
from tests.unit.worker.in_processes import sleep_at_first

FULL_KILLS = 300
JOBS = 12
"""In each file."""
KILLS_OF_A_FILE = 6
MOST_SECONDS = 0.03
DIED = f"the process ended during attempt {{}}, and {NOT_REPEATED}"
KILLED = "3 such deaths count against the job"
MOST_DEATHS = 1_000


@dataclass
class File:
    """The record of one file of jobs, and its faults.

    Attributes:
        begun: The tokens of each job's attempts, by their numbers.
        at_work: The newest attempt of each job that has not reported an end.
    """

    path: Path
    idempotent: bool
    begun: dict[str, dict[int, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def fill(self) -> None:
        with SyncJobEngine(self.path) as engine:
            jobs = engine.create_many(NewJob("hash", input=number) for number in range(JOBS))
            for job in jobs:
                engine.transition(job.job_id, JobStatus.RUNNING)

    def heard(self, life: Life) -> None:
        """Record the lines of a process until its kill or its end."""
        for kind, *values in life.said:
            if kind != "begun":
                continue
            job_id, number, token = values
            attempts = self.begun.setdefault(job_id, {})
            if number <= max(attempts, default=0):
                self.problems.append(f"attempt {number} of {job_id} after {max(attempts)}")
            attempts[number] = token
            self.seen["attempts"] += 1

    def write_late(self) -> None:
        """Check that no dead attempt can end its job once the newest one holds it."""
        with SyncJobEngine(self.path) as engine:
            for job_id, attempts in self.begun.items():
                before = engine.get(job_id)
                # The last reported attempt may still be the newest, or may have ended the job.
                for number in sorted(attempts)[:-1]:
                    self._write_late(engine, before, attempts[number])

    def _write_late(self, engine: SyncJobEngine[JobStatus], before: Job, token: str) -> None:
        job_id = before.job_id
        try:
            engine.transition(
                job_id, JobStatus.COMPLETED, result="a dead attempt's", attempt_token=token
            )
        except StaleAttemptError:
            self.seen["late writes refused"] += 1
        except ValueError as error:  # an illegal move: the token was not looked at
            self.problems.append(f"a dead attempt's token was taken for {job_id}: {error}")
        else:
            self.problems.append(f"a dead attempt ended {job_id}")
        if engine.get(job_id) != before:
            self.problems.append(f"a dead attempt changed {job_id}")

    def check_ended(self) -> None:
        """Check the jobs when all have ended."""
        with SyncJobEngine(self.path) as engine:
            for job in engine.list_jobs(limit=1_000).jobs:
                self._check(job)
                line = [each.to_status for each in engine.history(job.job_id)]
                if line != [JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING, job.status]:
                    self.problems.append(f"{job.job_id} went through {line}")

    def _check(self, job: Job) -> None:
        last = max(self.begun.get(job.job_id, {0: ""}))
        self.seen[f"{job.status}"] += 1
        self.seen["ended by a later attempt than the first"] += job.attempt > 1
        if job.status is JobStatus.COMPLETED:
            good = job.result == result_of(job, job.attempt) and job.attempt == last
        else:  # an attempt may have died before its handler said anything
            good = not self.idempotent and job.error == DIED.format(job.attempt)
        if not good:
            self.problems.append(f"wrong end after attempt {last}: {job!r}")


def _work(lane: Zygote, file: File, random: Random, planted: str = "") -> int:
    """Kill workers on a file, let the last one finish, and return the number of kills."""
    file.fill()
    order = {
        "path": str(file.path),
        "idempotent": file.idempotent,
        "handler": random.choice(["task", "task", "thread"]),
        "backend": random.choice(["asyncio", "trio"]),
        "planted": planted,
        "killers": [],
        "max_deaths": MOST_DEATHS,
    }
    kills = 0
    for _ in range(KILLS_OF_A_FILE):
        life = lane.child(order, random.uniform(0, MOST_SECONDS), counted_from=["opened"])
        file.heard(life)
        kills += life.status == -signal.SIGKILL
        if life.status == 0:
            break
        file.write_late()
    life = lane.child(order, 30)
    assert (life.status, life.said[-1]) == (0, ["all ended"]), life
    file.heard(life)
    file.write_late()
    file.check_ended()
    return kills


def _kill(folder: Path, kills: int, planted: str = "") -> tuple[list[str], Counter[str]]:
    random = seeded(f"dead workers, {folder.name}, {planted}")
    folder.mkdir(exist_ok=True)
    files: list[File] = []
    killed = 0
    with zygote("working") as lane:
        while killed < kills:
            idempotent = len(files) % 4 != 1
            files.append(File(folder / f"{len(files)}.db", idempotent))
            killed += _work(lane, files[-1], random, planted)
    seen = sum((file.seen for file in files), Counter[str]())
    report(f"{killed} kills, {len(files)} files, {dict(sorted(seen.items()))}")
    seen["kills"] = killed
    return [problem for file in files for problem in file.problems], seen


@needs_fork
def test_jobs_of_a_killed_process_are_run_again_and_end_once(tmp_path: Path) -> None:
    kills = tries(FULL_KILLS, least=12)
    seen: Counter[str] = Counter()
    for number in rounds():
        problems, in_round = _kill(tmp_path / f"round {number}", kills)
        assert problems == []
        seen += in_round
        if _is_enough(seen, kills):
            break


def _is_enough(seen: Counter[str], kills: int) -> bool:
    return (
        seen["kills"] >= kills
        and seen["completed"] > kills
        and seen["failed"] > 0  # those that are not to be repeated
        and seen["ended by a later attempt than the first"] > kills / 2
        and seen["late writes refused"] > kills / 2
    )


@needs_fork
@pytest.mark.parametrize("backend", ["asyncio", *thorough("trio")])
def test_a_job_that_kills_its_process_fails_no_job_beside_it(tmp_path: Path, backend: str) -> None:
    files = tries(50)
    kills = 0
    with zygote("working") as lane:
        for number in range(files):
            file = File(tmp_path / f"{number}.db", idempotent=True)
            killers = seeded(f"killers {number}").sample(range(JOBS), 2)
            kills += _killed_by(lane, file, killers, backend)
    report(f"{kills} kills by jobs, {files} files")
    assert kills >= 6 * files


def _killed_by(lane: Zygote, file: File, killers: list[int], backend: str) -> int:
    """Start workers until all jobs have ended, check the jobs, and return the number of kills."""
    file.fill()
    order = {
        "path": str(file.path),
        "idempotent": True,
        "handler": "task",
        "backend": backend,
        "planted": "",
        "killers": killers,
        "max_deaths": 3,
    }
    kills = 0
    while (life := lane.child(order, 30)).status == -signal.SIGKILL:
        kills += 1
        assert kills < 50
    assert life.status == 0, life
    with SyncJobEngine(file.path) as engine:
        for job in engine.list_jobs(limit=1_000).jobs:
            if job.input in killers:
                assert job.status is JobStatus.FAILED
                assert KILLED in (job.error or ""), job
            else:
                assert job.result == result_of(job, job.attempt)
    return kills


@pytest.mark.thorough
@needs_fork
def test_a_token_check_that_takes_any_token_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batch, "check_holder", lambda *_: None)
    for number in rounds():
        problems, _ = _kill(tmp_path / f"round {number}", 12, "any token will do")
        if any("a dead attempt" in each for each in problems):
            break


@pytest.mark.thorough
@needs_fork
def test_a_killed_process_of_a_handler_is_run_again(tmp_path: Path) -> None:
    """The killed process is not the worker's, but one that runs a handler."""
    kills = tries(30)
    random = seeded("killed handlers")

    async def main() -> None:
        retry = Retry(first_delay_seconds=0, jitter=0)
        async with (
            JobEngine() as engine,
            Worker(engine, sleep_at_first, processes=True, retry=retry, concurrency=2),
        ):
            beside = await _asleep(engine, tmp_path / "beside")
            for number in range(kills):
                ids = tmp_path / f"{number}"
                job = await _asleep(engine, ids)
                await anyio.sleep(random.uniform(0, 0.01))
                killed = int(ids.read_text())
                os.kill(killed, signal.SIGKILL)
                with anyio.fail_after(60):
                    done = await engine.wait(job.job_id)
                assert (done.status, done.attempt) == (JobStatus.COMPLETED, 2), done
                assert int(done.result or "") != killed
            waiting = await engine.get(beside.job_id)
            assert (waiting.status, waiting.attempt) == (JobStatus.RUNNING, 1)
            await engine.cancel(beside.job_id)
            await engine.wait(beside.job_id)

    anyio.run(main)
    report(f"{kills} processes of handlers killed")


async def _asleep(engine: JobEngine[JobStatus], ids: Path) -> Job:
    """Return a new job once its handler sleeps in a process, which has written its id there."""
    job = await engine.create("hash", input=str(ids))
    await engine.transition(job.job_id, JobStatus.RUNNING)
    await until(lambda: ids.exists() and ids.read_text().endswith("\n"))
    return job
