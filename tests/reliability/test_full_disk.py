"""Row 4: the disk is full; the batch that has no room fails as a whole, and reads go on.

Writes succeed again as soon as there is room, and nothing acknowledged is lost. Some tests use a
recorded file system, which can be full at any byte; others a small real one.
"""

import logging
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import anyio
import pytest

from engine import (
    Job,
    JobEngine,
    JobStatus,
    NewJob,
    SQLiteStorage,
    StorageError,
    StorageFullError,
)
from tests.reliability.disk.account import Account, Told
from tests.reliability.disk.faults import Full
from tests.reliability.disk.images import Images
from tests.reliability.disk.recording import Unsynced
from tests.reliability.disk.storages import Bench, running, work
from tests.reliability.disk.stored import DATABASE, read
from tests.reliability.disk.vfs import Healthy
from tests.tries import report, seeded, tries

FULL_CYCLES = 50
"""On each backend."""
MOST_RUNS_OF_A_CYCLE = 5
CYCLES_OF_A_RUN = 5
ROUNDS = 2
MOST_ROOM_BYTES = 60_000
IMAGES_OF_A_RUN = 40
RESTART_EVERY = 10

FILE_SYSTEM_BYTES = 1_000_000
BALLAST_BYTES = 300_000
JOBS_OF_A_BATCH = 20
SECONDS_AGAINST_HANGS = 60

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "engine")


async def _cycle(bench: Bench, random: Random, name: str) -> bool:
    """Fill the disk while callers work, make room, and return whether any write had no room."""
    folder = bench.disk.recording.folder
    used = sum(path.stat().st_size for path in folder.iterdir())
    full = Full(folder, used + random.randrange(MOST_ROOM_BYTES))
    bench.disk.fault = full
    await work(bench, random, ROUNDS, name)
    bench.disk.fault = Healthy()
    refused = len(bench.account.refusals)
    await work(bench, random, 1, f"{name}, with room")
    assert len(bench.account.refusals) == refused
    return full.hits > 0


async def test_what_has_no_room_fails_as_a_whole_and_writing_resumes(
    anyio_backend_name: str, tmp_path: Path
) -> None:
    count = tries(FULL_CYCLES)
    random = seeded(f"full disk, {anyio_backend_name}")
    images = Images(tmp_path / "image", random, restart_every=RESTART_EVERY)
    seen: Counter[str] = Counter()
    while _least(seen) < count and seen["runs"] < MOST_RUNS_OF_A_CYCLE * count:
        async with running(tmp_path / f"run {seen['runs']}") as bench:
            for number in range(CYCLES_OF_A_RUN):
                seen["cycles"] += await _cycle(bench, random, f"cycle {number}")
        seen["runs"] += 1
        account = bench.account
        seen += account.counts() + Counter(reads=account.reads)
        assert {type(error) for error in account.refusals} <= {StorageFullError}
        assert account.unknown == []
        assert account.refused_reads == []
        assert account.disagreements == []
        await images.check(bench.disk.recording, account, list(Unsynced), IMAGES_OF_A_RUN)
    report(f"{dict(seen)}, {images.made} images, {dict(images.seen)}")
    assert images.problems[:5] == []
    assert _least(seen) >= count, "the disk was hardly ever full"


def _least(seen: Counter[str]) -> int:
    """Return the count of the rarest event that there has to be."""
    return min(seen[name] for name in ("cycles", "refused", "applied", "reads"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={FILE_SYSTEM_BYTES}", "tmpfs"]
    try:
        subprocess.run(["mount", *options, folder], check=True, capture_output=True)  # noqa: S607 - every system has its own place
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607 - every system has its own place


async def _create_batch(engine: JobEngine, account: Account, name: str) -> Told:
    hashes = [f"{name} {number}" for number in range(JOBS_OF_A_BATCH)]

    async def call() -> Sequence[Job]:
        return await engine.create_many([NewJob(input_hash) for input_hash in hashes])

    attempt = await account.write(call(), hashes, 1, JobStatus.AWAITING_PAYMENT)
    return attempt.told


async def _fill(engine: JobEngine, account: Account, name: str) -> int:
    """Create jobs until there is no room; return the number of batches that had room."""
    for number in range(FILE_SYSTEM_BYTES // JOBS_OF_A_BATCH):
        if await _create_batch(engine, account, f"{name} {number}") is Told.REFUSED:
            return number
    pytest.fail("the disk did not get full")


async def _read_all(engine: JobEngine, account: Account) -> None:
    """Check that every read still works, and shows the acknowledged changes."""
    newest = account.newest(account.moment())
    for job in newest.values():
        assert await engine.get(job.job_id) == job
    some = next(iter(newest.values()))
    assert len(await engine.history(some.job_id)) == 1
    assert await engine.count() == len(newest)
    assert len((await engine.list_jobs(limit=1_000)).jobs) == min(1_000, len(newest))


async def test_a_small_real_disk_gets_full_and_gets_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    account = Account(lambda: 0)
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        async with JobEngine(SQLiteStorage(small_disk / DATABASE)) as engine:
            first = await _fill(engine, account, "first")
            assert await _create_batch(engine, account, "still full") is Told.REFUSED
            await _read_all(engine, account)
            ballast.unlink()
            second = await _fill(engine, account, "second")
            await _read_all(engine, account)
        async with JobEngine(SQLiteStorage(small_disk / DATABASE)) as engine:
            await _read_all(engine, account)
    report(f"{first} batches of {JOBS_OF_A_BATCH} had room, and {second} after more was made")
    assert min(first, second) > 2
    assert {type(error) for error in account.refusals} == {StorageFullError}
    assert account.unknown == []
    stored, problems = read(small_disk)
    assert problems == []
    assert stored.keys() == account.newest(0).keys()


async def test_an_engine_that_has_no_room_to_start_says_so(small_disk: Path) -> None:
    path = small_disk / DATABASE
    _put_ballast(small_disk)
    with pytest.raises(StorageError):
        async with JobEngine(SQLiteStorage(path)):
            pass
    (small_disk / "ballast").unlink()
    async with JobEngine(SQLiteStorage(path)) as engine:
        job = await engine.create("hash")
    _put_ballast(small_disk)
    with pytest.raises(StorageError):
        async with JobEngine(SQLiteStorage(path)):
            pass
    (small_disk / "ballast").unlink()
    async with JobEngine(SQLiteStorage(path)) as engine:
        assert await engine.get(job.job_id) == job


def _put_ballast(folder: Path) -> None:
    """Fill the disk."""
    with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4_096))
