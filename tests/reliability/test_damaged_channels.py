"""Row 26: a process of a handler sends damaged messages; its own attempt fails, nothing else.

The process is a real one, but runs another program: it sends what a process of a handler sends, cut
short, mixed up, or with changed bytes. Every second stream is damaged, and may leave anything in
the channel of a process that goes on. The stream after it is sound: its job keeps its result, at
the first attempt.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import anyio
import pytest

from engine import AGENT_JOB_LIFECYCLE, AgentJobStatus, JobEngine, Retry, Worker
from engine.worker import outcome
from engine.worker.processes import handler_process
from engine.worker.processes.messages import (
    Asked,
    Began,
    FromProcess,
    Logged,
    Raised,
    Ready,
    Reported,
    Returned,
    encoded,
)
from engine.worker.results import Result
from tests.reliability.alive import children, descriptors
from tests.reliability.programs.handlers import returns
from tests.systems import needs_fork, needs_proc
from tests.tries import first_seed, report, tries

pytestmark = [pytest.mark.anyio, needs_fork, needs_proc]
SECONDS = 600
NUMBER = 2**52 + 1
"""Stands for the number of the run, which is as long."""
ENDS = [AgentJobStatus.AWAITING_INPUT, AgentJobStatus.COMPLETED, AgentJobStatus.FAILED]
AT_ONCE = 2
ONCE = Retry(max_attempts=1)

SOURCE = """
import random, re, select, socket, sys

end = socket.socket(fileno=int(sys.argv[1]))


def message():
    length = int.from_bytes(end.recv(4, socket.MSG_WAITALL), "big")
    return end.recv(length, socket.MSG_WAITALL)


def framed(body):
    return len(body).to_bytes(4, "big") + body


def damaged(bodies, random):
    rest = random.choices(bodies, k=random.randint(1, 6)) + [random.choice(bodies[-2:])]
    for _ in range(random.randint(0, 3)):  # within a message
        at = random.randrange(len(rest))
        body = bytearray(rest[at])
        for _ in range(random.choice([1, 1, 2, 20]) if body else 0):
            body[random.randrange(len(body))] = random.randrange(256)
        rest[at] = bytes(body)[: random.choice([None, None, random.randrange(len(body) + 1)])]
    if random.random() < 0.05:
        rest.insert(0, b"\\x82\\xa4type\\xa8Returned\\xa1x" + b"\\x91" * 200000)  # nested deeply
    stream = bytearray(b"".join(map(framed, rest)))
    for _ in range(random.randint(0, 3)):  # anywhere
        at = random.randrange(len(stream) + 1)
        how = random.randrange(4)
        if how == 0:
            stream[at:at + 1] = bytes([random.randrange(256)])
        elif how == 1:
            stream[at:at] = random.randbytes(random.choice([1, 4, 100, 100000]))
        elif how == 2:
            del stream[at:at + random.choice([1, 4, 100])]
        else:
            del stream[at:]
    return bytes(stream)


with open({path!r}, "rb") as file:
    number, ready, began, *bodies = [bytes.fromhex(line) for line in file.read().decode().split()]
message()
end.sendall(framed(ready))
while True:
    run = message()
    mine = run[run.index(b"number") + 6:][:9]
    seed = int(re.search(rb"seed (\\d+)", run)[1])
    own = [body.replace(number, mine) for body in bodies]
    begin = framed(began.replace(number, mine))
    try:
        if seed % 2 == 0:
            end.sendall(begin + framed(own[-1].replace(b"RESULT", b"%6d" % seed)))
            continue
        choice = random.Random(seed * 1000 + run[run.index(b"attempt") + 7])
        stream = damaged(own, choice)
        end.sendall(stream if choice.random() < 0.02 else begin + stream)
        if choice.random() < 0.3 or not select.select([end], [], [], 0.2)[0]:
            break
    except OSError:  # the engine has heard enough
        break
"""


def _messages() -> list[FromProcess]:
    """Return one message of each kind; the last two end a run."""
    return [
        Reported(NUMBER, 1.0, 2.0, "note"),
        Logged(
            NUMBER, "shop", 30, "a line", "shop.py", 1, "f", 1.0e9, "t", "trace", None, {"a": 1}
        ),
        Asked(NUMBER, '{"prompt_id":"1","name":"n","question":"q","json_schema":{}}', 1.0, None),
        Raised(
            NUMBER,
            "ValueError: x",
            ["builtins.ValueError"],
            retryable=True,
            retry_after_seconds=None,
            asks=False,
            traceback="",
        ),
        Returned(NUMBER, Result("RESULT")),
    ]


def _program(path: Path) -> str:
    number = encoded(Began(NUMBER)).rpartition(b"number")[2]
    assert len(number) == 9
    parts = [number, encoded(Ready()), encoded(Began(NUMBER)), *map(encoded, _messages())]
    path.write_text("\n".join(part.hex() for part in parts))
    return SOURCE.replace("{path!r}", repr(str(path)))


@pytest.mark.thorough
async def test_a_damaged_stream_ends_one_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_process, "_SOURCE", _program(tmp_path / "messages"))
    monkeypatch.setattr(outcome, "_PAUSE_SECONDS", 0.0)
    seen: Counter[str] = Counter()
    first = first_seed()
    seeds = range(first, first + 2 * tries(10_000))
    limiter = anyio.CapacityLimiter(AT_ONCE)
    before = descriptors()

    async with (
        JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine,
        Worker(engine, returns, processes=True, retry=ONCE, max_deaths=1, concurrency=AT_ONCE),
    ):

        async def run(seed: int) -> None:
            async with limiter:
                job = await engine.create("hash", input=f"seed {seed} of {seeds.stop}")
                await engine.transition(job.job_id, AgentJobStatus.RUNNING)
                with anyio.fail_after(SECONDS):
                    done = await engine.wait(job.job_id, until=ENDS)
            if seed % 2 == 0:
                assert (done.result or "").strip() == str(seed), f"seed {seed}: {done}"
                assert done.attempt == 1, f"seed {seed}: {done}"
                return
            told = (done.error or "").startswith("HandlerProcessError")
            kind = "failed, told by the engine" if told else done.status.value
            seen[kind + ", after it could not begin" * (done.attempt > 1)] += 1

        async with anyio.create_task_group() as tasks:
            for seed in seeds:
                tasks.start_soon(run, seed)
        statistics = await engine.statistics()
        assert (statistics.running, statistics.ready) == (0, 0)
        assert statistics.jobs[AgentJobStatus.RUNNING] == 0
    assert children() == []
    assert descriptors() <= before
    report(f"{len(seeds) // 2} damaged streams, as many sound ones: {dict(seen)}")
    assert {"completed", "failed, told by the engine"} <= {*seen}
