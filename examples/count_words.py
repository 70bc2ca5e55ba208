"""Sell word counts: every file is a job that is paid for, counted and shown in a table.

::

    python examples/count_words.py README.md LICENSE

It shows a service in small: a job waits for its payment, a callback moves it on, slow work runs in
threads, a file that can't be used is a failed job, and an interrupt leaves no job half way. It
reads top to bottom: the work on a file, the shop that sells it, what is printed, the command.
"""

from __future__ import annotations

import argparse
import codecs
import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import from_thread, to_thread

from engine import AGENT_JOB_LIFECYCLE, AgentJobStatus, Job, JobEngine, Move

CHUNK_BYTES = 1_048_576
PAYMENT_SECONDS = 0.02
PROGRESS_SECONDS = 0.1
MAX_AT_ONCE = 40  # as many worker threads as anyio starts
TERMS_SHOWN = 5
TERM = re.compile(r"[^\W\d_]{4,30}")  # shorter words say little of a text

Result = TypeVar("Result")


class UnusableFileError(Exception):
    """The file can't be counted; the message says why."""


@dataclass
class Order:
    """What one customer wants counted."""

    path: str
    job: Job[AgentJobStatus] | None = None
    bytes_read: int = 0

    @property
    def name(self) -> str:
        """The path as a terminal can show it: no control characters, no broken encoding."""
        text = os.fsencode(self.path).decode(errors="replace")
        return "".join(character if character.isprintable() else "?" for character in text)


# --- the work on a file, in a worker thread -------------------------------------------------------


def read_chunks(order: Order, digest: hashlib._Hash) -> Generator[bytes]:
    """Read a file in pieces, so that its size does not matter, and stop when cancelled."""
    file = Path(order.path)
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        raise UnusableFileError("a directory" if stat.S_ISDIR(mode) else "not a regular file")
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            from_thread.check_cancelled()
            digest.update(chunk)
            order.bytes_read += len(chunk)
            yield chunk


def sha256_of(order: Order) -> str:
    """Return the SHA-256 of the file's bytes."""
    digest = hashlib.sha256()
    for _ in read_chunks(order, digest):
        pass
    return digest.hexdigest()


def split_between_words(chunks: Iterator[bytes]) -> Iterator[str]:
    """Decode chunks into texts that end at a blank, so that no word is cut in two.

    Only a word longer than a chunk is cut, so that memory stays bounded.
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


def count_words(order: Order, input_hash: str) -> str:
    """Count line feeds, words between blanks, and the most frequent terms. Return them as JSON."""
    digest = hashlib.sha256()
    lines, words, terms = 0, 0, Counter[str]()
    with closing(read_chunks(order, digest)) as chunks:
        for text in split_between_words(chunks):
            if "\0" in text:
                raise UnusableFileError("a binary file: it has NUL characters")
            lines += text.count("\n")
            words += len(text.split())
            terms.update(TERM.findall(text.casefold()))
    if digest.hexdigest() != input_hash:
        raise UnusableFileError("changed after it was ordered")
    return json.dumps({"lines": lines, "words": words, "terms": terms.most_common(TERMS_SHOWN)})


async def in_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Run blocking work in a worker thread; a file that can't be read is an unusable one."""
    try:
        return await to_thread.run_sync(work, *arguments)
    except OSError as error:
        raise UnusableFileError(error.strerror or type(error).__name__) from error


# --- the shop -------------------------------------------------------------------------------------


async def simulated_payment(
    blockchain_identifier: str, on_paid: Callable[[str], Awaitable[None]]
) -> None:
    """Stand in for a payment service: a moment later it calls back and names what was paid."""
    await anyio.sleep(PAYMENT_SECONDS)
    await on_paid(blockchain_identifier)


class Shop:
    """Takes orders, has them paid, does the work.

    Args:
        engine: Keeps the jobs.
        report: Called with an order whenever its job has a new status.
    """

    def __init__(self, engine: JobEngine[AgentJobStatus], report: Callable[[Order], None]) -> None:
        self._engine = engine
        self._report = report
        self._unpaid: dict[str, Order] = {}

    async def serve_all(self, orders: Sequence[Order], at_once: int) -> None:
        """Serve every order, so many at once.

        Cancelled, it fails the jobs that have not ended.
        """
        waiting = iter(orders)
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(at_once):
                    tasks.start_soon(self._serve_each, waiting)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._give_up(orders)
            raise

    async def _serve_each(self, waiting: Iterator[Order]) -> None:
        for order in waiting:
            await self._serve(order)

    async def _serve(self, order: Order) -> None:
        job = None
        try:
            input_hash = await in_thread(sha256_of, order)
            job = await self._create(order, input_hash)
            self._unpaid[job.blockchain_identifier] = order
            await simulated_payment(job.blockchain_identifier, self.on_paid)
            result = await in_thread(count_words, order, input_hash)
        except UnusableFileError as problem:
            if job is None:  # nobody pays for a file that can't be read
                job = await self._create(order, hash_of_unread(order.path))
            await self._move(order, job.job_id, AgentJobStatus.FAILED, error=str(problem))
        else:
            await self._move(order, job.job_id, AgentJobStatus.COMPLETED, result=result)

    async def on_paid(self, blockchain_identifier: str) -> None:
        """Move the job that has been paid on: what a payment service's callback does."""
        order = self._unpaid.pop(blockchain_identifier)
        if order.job is not None:
            await self._move(order, order.job.job_id, AgentJobStatus.RUNNING)

    async def _create(self, order: Order, input_hash: str) -> Job[AgentJobStatus]:
        job = order.job = await self._engine.create(input_hash)
        self._report(order)
        return job

    async def _move(
        self,
        order: Order,
        job_id: str,
        target: AgentJobStatus,
        result: str | None = None,
        error: str | None = None,
    ) -> None:
        order.job = await self._engine.transition(job_id, target, result=result, error=error)
        self._report(order)

    async def _give_up(self, orders: Sequence[Order]) -> None:
        """Fail what has not ended. Calls were cancelled, so the engine is asked, not our memory."""
        for status in (AgentJobStatus.AWAITING_PAYMENT, AgentJobStatus.RUNNING):
            page = await self._engine.list_jobs(status, limit=MAX_AT_ONCE)
            await self._engine.transition_many(
                [Move(job.job_id, AgentJobStatus.FAILED, error="interrupted") for job in page.jobs]
            )
        for order in orders:
            if order.job is not None:
                order.job = await self._engine.get(order.job.job_id)


def hash_of_unread(path: str) -> str:
    """Return what stands for the content of a file that could not be read."""
    return "unread:" + hashlib.sha256(os.fsencode(path)).hexdigest()


# --- what is printed ------------------------------------------------------------------------------


def print_line(order: Order) -> None:
    """Tell of a new status in a line of its own: for pipes and files."""
    if order.job is not None:
        print(f"{order.name}: {order.job.status.value}", flush=True)


async def show_progress(engine: JobEngine[AgentJobStatus], orders: Sequence[Order]) -> None:
    """Keep one line of a terminal up to date, until cancelled."""
    while True:
        counts = (await engine.statistics()).jobs
        shown = [f"{count} {status.value}" for status, count in counts.items() if count]
        megabytes = sum(order.bytes_read for order in orders) / 1e6
        write_progress(f"{', '.join(shown) or 'none'} of {len(orders)}; {megabytes:.1f} MB read")
        await anyio.sleep(PROGRESS_SECONDS)


def write_progress(text: str) -> None:
    """Overwrite the progress line with this text."""
    width = shutil.get_terminal_size().columns - 1
    sys.stdout.write(f"\r{text[:width].ljust(width)}\r")
    sys.stdout.flush()


def row_of(order: Order) -> tuple[str, ...]:
    """Return an order's row of the table."""
    if order.job is None:
        return (order.name, "not ordered", "", "", "")
    if order.job.result is None:
        return (order.name, order.job.status.value, "", "", order.job.error or "")
    counts: dict[str, Any] = json.loads(order.job.result)
    terms = ", ".join(f"{term} {count}" for term, count in counts["terms"])
    return (order.name, order.job.status.value, str(counts["lines"]), str(counts["words"]), terms)


def print_table(orders: Sequence[Order]) -> None:
    """Print a row for every order, and a line that sums them up.

    On a terminal the last column is cut to what fits.
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
    completed = sum(map(is_completed, orders))
    print(f"{completed} of {len(orders)} completed", flush=True)


def is_completed(order: Order) -> bool:
    """Tell whether an order's job went well."""
    return order.job is not None and order.job.status is AgentJobStatus.COMPLETED


# --- the command ----------------------------------------------------------------------------------


async def run(files: Sequence[str], at_once: int) -> int:
    """Sell the counts of all files and return the exit code."""
    orders = [Order(path) for path in files]
    on_terminal = sys.stdout.isatty()
    report: Callable[[Order], None] = (lambda _: None) if on_terminal else print_line
    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        try:
            async with anyio.create_task_group() as tasks:
                if on_terminal:
                    tasks.start_soon(show_progress, engine, orders)
                await Shop(engine, report).serve_all(orders, at_once)
                tasks.cancel_scope.cancel()
        finally:
            if on_terminal:
                write_progress("")
            print_table(orders)
    return 0 if all(map(is_completed, orders)) else 1


def number_at_once(text: str) -> int:
    """Return the number of files that are served at the same time."""
    if not 1 <= int(text) <= MAX_AT_ONCE:
        raise argparse.ArgumentTypeError(f"{text} is not 1 to {MAX_AT_ONCE}")
    return int(text)


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    parser = argparse.ArgumentParser(
        description="Count the lines, words and most frequent terms of text files (UTF-8). "
        "Every file is a job: it waits for a simulated payment, runs, and completes or fails.",
        epilog="Exit code: 0 all completed, 1 some failed, 2 wrong usage, 130 interrupted.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a text file")
    parser.add_argument(
        "--at-once",
        type=number_at_once,
        default=4,
        metavar="N",
        help=f"how many files are served at the same time: 1 to {MAX_AT_ONCE} (default: 4)",
    )
    return parser


def main() -> int:
    """Run the command and return its exit code."""
    arguments = command_line().parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # show what an old terminal can't as "?"
    if hasattr(signal, "SIGPIPE"):  # end quietly, as other commands do, when nobody reads on
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return anyio.run(run, arguments.files, arguments.at_once)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
