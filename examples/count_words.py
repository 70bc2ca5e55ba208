"""Sell word counts: every file is a job that is paid for, counted and shown in a table.

::

    python examples/count_words.py README.md LICENSE

This is a small service. Its jobs live in a file. A gate starts paid jobs, a handler counts words in
threads, and an unusable file is a failed job. Stop it halfway, by Ctrl-C or ``kill -9``, and the
same command resumes. Read it from top to bottom: the work on a file, the shop, the output, the
command.
"""

from __future__ import annotations

import argparse
import codecs
import hashlib
import io
import logging
import os
import re
import shutil
import signal
import stat
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

import anyio
from anyio import from_thread, to_thread
from pydantic import BaseModel

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    Context,
    Gate,
    Job,
    JobEngine,
    PastStatus,
    Progress,
    Retry,
    StorageError,
    Transition,
    WaitingJobs,
    Worker,
)

CHUNK_BYTES = 1_048_576
PAYMENT_SECONDS = 0.02
PROGRESS_SECONDS = 0.1
MAX_AT_ONCE = 100
MAX_SLOW_SECONDS = 3_600.0
TERMS_SHOWN = 5
TERM = re.compile(r"[^\W\d_]{4,30}")  # shorter words say little about a text

Engine = JobEngine[AgentJobStatus]
WordJob = Job[AgentJobStatus]


class UnusableFileError(Exception):
    """The file can't be counted; the message says why."""


# --- the work on a file, in a thread --------------------------------------------------------------


class Counts(BaseModel):
    """The product: the counts of a text."""

    lines: int
    words: int
    terms: list[tuple[str, int]]


def count_file(
    job: WordJob, context: Context[AgentJobStatus], *, slow_seconds: float = 0.0
) -> Counts:
    """Handle a job: count the words of its file. The returned counts or the error end the job."""

    def on_read(done: int, total: int) -> None:
        context.check_cancelled()
        context.progress(done, total)

    path = Path(os.fsdecode(unquote_to_bytes(job.input["path"])))
    digest = hashlib.sha256()
    with closing(read_chunks(path, digest, on_read)) as chunks:
        counts = count_words(split_between_words(chunks))
    if digest.hexdigest() != job.input_hash:
        raise UnusableFileError("changed after it was ordered")
    take_time(slow_seconds, context)
    return counts


def read_chunks(
    path: Path, digest: hashlib._Hash, on_read: Callable[[int, int], None]
) -> Generator[bytes]:
    """Read a file in chunks, because it may be large, and report the progress."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            is_directory = stat.S_ISDIR(status.st_mode)
            raise UnusableFileError("a directory" if is_directory else "not a regular file")
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                on_read(stream.tell(), status.st_size)
                yield chunk
    except OSError as error:
        raise UnusableFileError(error.strerror or type(error).__name__) from error


def split_between_words(chunks: Iterator[bytes]) -> Iterator[str]:
    """Decode chunks into texts that end at a blank: no word is cut in two.

    Only a word longer than a chunk is cut, to keep memory bounded.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest = ""
    try:
        for chunk in chunks:
            text = rest + decoder.decode(chunk)
            cut = max(text.rfind(" "), text.rfind("\n")) + 1 or len(text)
            rest = text[cut:]
            yield text[:cut]
        yield rest + decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise UnusableFileError("a binary file, or not in UTF-8") from None


def count_words(texts: Iterator[str]) -> Counts:
    """Count line feeds, words between blanks, and the most frequent terms."""
    lines, words, terms = 0, 0, Counter[str]()
    for text in texts:
        if "\0" in text:
            raise UnusableFileError("a binary file: it has NUL characters")
        lines += text.count("\n")
        words += len(text.split())
        terms.update(TERM.findall(text.casefold()))
    return Counts(lines=lines, words=words, terms=terms.most_common(TERMS_SHOWN))


def take_time(seconds: float, context: Context[AgentJobStatus]) -> None:
    """Do nothing for some seconds, unless the job is cancelled."""
    end = time.monotonic() + seconds
    while (rest := end - time.monotonic()) > 0:
        context.check_cancelled()
        time.sleep(min(rest, PROGRESS_SECONDS))


# --- the shop -------------------------------------------------------------------------------------


@dataclass
class Order:
    """A file that a customer orders the counts of, and the state of its job."""

    path: str
    job: WordJob | None = None
    status: AgentJobStatus | PastStatus | None = None
    ended_before: bool = False
    bytes_hashed: int = 0
    bytes_counted: float = 0

    @property
    def name(self) -> str:
        """The path without control characters and broken encodings, for a terminal."""
        text = os.fsencode(self.path).decode(errors="replace")
        return "".join(character if character.isprintable() else "?" for character in text)

    @property
    def full_path(self) -> Path:
        """The absolute path, which is valid in any folder."""
        return Path(self.path).absolute()

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended."""
        return self.status in {AgentJobStatus.COMPLETED, AgentJobStatus.FAILED}

    def take(self, job: WordJob) -> None:
        """Store the newest snapshot of the job."""
        self.job, self.status = job, job.status


async def sell(
    engine: Engine, orders: Sequence[Order], options: Options, report: Callable[[Order], None]
) -> None:
    """Take the orders, run the jobs once they are paid, and report each new status."""
    for order in orders:
        await take_order(engine, order, options.jobs)
        report(order)
    handler = partial(count_file, slow_seconds=options.slow_seconds)
    no_retries = Retry(retry_on=())  # they would repair none of the handler's errors
    news = engine.watch(progress=True)
    async with (
        Gate(engine, paid, interval_seconds=PAYMENT_SECONDS),
        Worker(
            engine,
            handler,
            concurrency=options.at_once,
            retry=no_retries,
            max_deaths=1_000,  # you may kill it as often as you like
            grace_seconds=0,
        ),
    ):
        await follow(engine, orders, news, report)


async def take_order(engine: Engine, order: Order, jobs: Path) -> None:
    """Create the job of a file, or find the job that an earlier run created.

    The key is made of the path and the content.
    """
    path = os.fsencode(order.full_path)
    kept = {"path": quote_from_bytes(path)}  # JSON can't hold broken encodings
    try:
        input_hash = await to_thread.run_sync(hash_of, order, jobs)
    except UnusableFileError as problem:  # an unreadable file is not paid for
        job = await engine.create(f"unread:{hashlib.sha256(path).hexdigest()}", input=kept)
        failed = AgentJobStatus.FAILED
        order.take(await engine.transition(job.job_id, failed, error=str(problem)))
    else:
        key = hashlib.sha256(path + b"\0" + input_hash.encode()).hexdigest()
        order.take(await engine.create(input_hash, idempotency_key=key, input=kept))
        order.ended_before = order.has_ended


def hash_of(order: Order, jobs: Path) -> str:
    """Return the SHA-256 of a file's bytes; in a worker thread."""

    def on_read(done: int, _total: int) -> None:
        from_thread.check_cancelled()
        order.bytes_hashed = done

    if str(order.full_path).startswith(str(jobs.absolute())):
        raise UnusableFileError("a file of the jobs")
    digest = hashlib.sha256()
    for _ in read_chunks(order.full_path, digest, on_read):
        pass
    return digest.hexdigest()


async def paid(jobs: WaitingJobs[AgentJobStatus]) -> Iterable[WordJob]:
    """Simulate a payment service: after a moment, all waiting jobs are paid."""
    await anyio.sleep(PAYMENT_SECONDS)
    return jobs


async def follow(
    engine: Engine,
    orders: Sequence[Order],
    news: AsyncIterator[Transition[AgentJobStatus] | Progress],
    report: Callable[[Order], None],
) -> None:
    """Follow the events of the orders until all have ended."""
    by_job = defaultdict[str, list[Order]](list)  # a file may be ordered twice, and is one job
    for order in orders:
        if order.job is not None:
            by_job[order.job.job_id].append(order)
    while not all(order.has_ended for order in orders):
        event = await anext(news)
        for order in by_job[event.job_id]:
            if isinstance(event, Progress):
                order.bytes_counted = event.done
                continue
            order.status = event.to_status
            if order.has_ended:
                order.take(await engine.get(event.job_id))
            report(order)


# --- the output -----------------------------------------------------------------------------------


def print_line(order: Order) -> None:
    """Print a new status on a line of its own, for pipes and files."""
    note = " before" if order.ended_before else ""
    if order.status is AgentJobStatus.RUNNING and order.job and order.job.version > 1:
        note = ", resumed"  # an earlier run left it so
    print(f"{order.name}: {order.status}{note}", flush=True)


async def show_progress(orders: Sequence[Order]) -> None:
    """Update one line of a terminal until cancelled."""
    while True:
        counts = Counter(order.status or "not ordered" for order in orders)
        shown = ", ".join(f"{count} {status}" for status, count in counts.items())
        megabytes = sum(order.bytes_hashed + order.bytes_counted for order in orders) / 1e6
        write_progress(f"{shown} of {len(orders)}; {megabytes:.1f} MB read")
        await anyio.sleep(PROGRESS_SECONDS)


def write_progress(text: str) -> None:
    """Overwrite the progress line with this text."""
    width = shutil.get_terminal_size().columns - 1
    sys.stdout.write(f"\r{text[:width].ljust(width)}\r")
    sys.stdout.flush()


def row_of(order: Order) -> tuple[str, ...]:
    """Return an order's row of the table."""
    job, status = order.job, str(order.status or "not ordered")
    if job is None or job.result is None:
        error = (job and job.error) or ""
        return (order.name, status, "", "", error.removeprefix("UnusableFileError: "))
    counts = Counts.model_validate_json(job.result)
    terms = ", ".join(f"{term} {count}" for term, count in counts.terms)
    return (order.name, status, str(counts.lines), str(counts.words), terms)


def print_table(orders: Sequence[Order]) -> None:
    """Print a row for every order, and a line with the sums.

    On a terminal the last column is cut to fit.
    """
    rows = [
        ("file", "status", "lines", "words", "most frequent terms, or the error"),
        *map(row_of, orders),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    room = shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * len(widths[:-1])
    shown = max(room, 0) if sys.stdout.isatty() else None
    for name, status, lines, words, rest in rows:
        text = (
            f"{name:{widths[0]}}  {status:{widths[1]}}"
            f"  {lines:>{widths[2]}}  {words:>{widths[3]}}  {rest[:shown]}"
        )
        print(text.rstrip())
    completed = [order for order in orders if order.status is AgentJobStatus.COMPLETED]
    before = sum(order.ended_before for order in completed)
    so_many_before = f", {before} of them before" if before else ""
    print(f"{len(completed)} of {len(orders)} completed{so_many_before}", flush=True)


# --- the command ----------------------------------------------------------------------------------


@dataclass
class Options:
    """The arguments of the command."""

    files: Sequence[str]
    jobs: Path
    at_once: int
    slow_seconds: float


async def run(options: Options) -> int:
    """Sell the counts of all files and return the exit code."""
    orders = [Order(path) for path in options.files]
    on_terminal = sys.stdout.isatty()
    async with JobEngine(options.jobs, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_when_told, tasks.cancel_scope)
            if on_terminal:
                tasks.start_soon(show_progress, orders)
            await sell(engine, orders, options, (lambda _: None) if on_terminal else print_line)
            tasks.cancel_scope.cancel()
        if on_terminal:
            write_progress("")
        print_table(orders)
    if not all(order.has_ended for order in orders):
        print("interrupted: run the same command again to resume", file=sys.stderr)
        return 130
    return 0 if all(order.status is AgentJobStatus.COMPLETED for order in orders) else 1


async def stop_when_told(scope: anyio.CancelScope) -> None:
    """Stop the work on Ctrl-C or SIGTERM."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


def number_at_once(text: str) -> int:
    """Parse the number of files that are counted at the same time."""
    if not (text.isdecimal() and 1 <= int(text) <= MAX_AT_ONCE):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to {MAX_AT_ONCE}")
    return int(text)


def seconds_slow(text: str) -> float:
    """Parse the extra seconds for each file."""
    with suppress(ValueError):
        if 0 <= (seconds := float(text)) <= MAX_SLOW_SECONDS:
            return seconds
    raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to {MAX_SLOW_SECONDS:g}")


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    parser = argparse.ArgumentParser(
        description="Count the lines, words and most frequent terms of text files (UTF-8). "
        "Every file is a job: it waits for a simulated payment, runs, and completes or fails. "
        "The jobs live in a file: stop the command halfway, by Ctrl-C, kill -9 or a power cut, run "
        "it again, and it resumes. A counted file is counted again only if its content has "
        "changed.",
        epilog="Exit code: 0 all completed, 1 some failed, 2 wrong usage, 3 the jobs can't be "
        "stored, 130 interrupted.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a text file")
    parser.add_argument(
        "--at-once",
        type=number_at_once,
        default=4,
        metavar="N",
        help=f"count this many files at the same time: 1 to {MAX_AT_ONCE} (default: 4)",
    )
    parser.add_argument(
        "--jobs",
        type=Path,
        default=Path("count_words.db"),
        metavar="FILE",
        help="the file of the jobs; delete it to forget them (default: count_words.db)",
    )
    parser.add_argument(
        "--slow",
        type=seconds_slow,
        default=0.0,
        metavar="SECONDS",
        dest="slow_seconds",
        help="wait this long after each file, to give you time to interrupt the command",
    )
    return parser


def main() -> int:
    """Run the command and return its exit code."""
    options = Options(**vars(command_line().parse_args()))
    # The table shows unusable files. The log shows only worse errors.
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("engine.worker").setLevel(logging.CRITICAL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # "?" for characters that an old terminal lacks
    if hasattr(signal, "SIGPIPE"):  # end quietly when the reader of a pipe has gone
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return anyio.run(run, options)
    except StorageError as error:
        print(f"count_words.py: error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:  # before the work began
        return 130


if __name__ == "__main__":
    sys.exit(main())
