"""Count words: every file is a job, which is counted in a thread and shown in a table.

::

    python examples/count_words.py README.md LICENSE

The jobs live in a file, and are of two kinds: plain and compressed texts. Stop the command halfway,
by Ctrl-C or ``kill -9``, and the same command goes on. Read it from top to bottom: the work, the
jobs, the output, the command.
"""

from __future__ import annotations

import gzip
import logging
import os
import re
import shutil
import signal
import stat
import sys
import time
import zlib
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from hashlib import sha256
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import BaseModel

from engine import (
    Context,
    InvalidValueError,
    Job,
    Outcome,
    Progress,
    StorageError,
    SyncJobEngine,
    Transition,
    Worker,
)

CHUNK_CHARACTERS = 1_048_576
TERMS_SHOWN = 5
KINDS: dict[str, Callable[[IO[bytes]], Any]] = {"plain": nullcontext, "compressed": gzip.open}
TERM = re.compile(r"[^\W\d_]{4,30}")  # shorter words say little about a text
ON_TERMINAL = sys.stdout.isatty()

# --- the work, in a thread ------------------------------------------------------------------------


class File(BaseModel):
    """The input of a job: a file as it was ordered."""

    path: str  # quoted, because JSON has no broken encodings
    version: str


class Counts(BaseModel):
    """The result of a job."""

    lines: int
    words: int
    terms: list[tuple[str, int]]


class UnusableFileError(Exception):
    """The file can't be counted; the message says why."""

    retryable = False


def count(
    ordered: File, context: Context, *, unpack: Callable[[IO[bytes]], Any], options: Namespace
) -> Counts:
    """Count the words of a file; the returned counts or the error end the job."""
    path = Path(os.fsdecode(unquote_to_bytes(ordered.path)))
    try:
        with open_regular(path, options.jobs) as file:

            def on_read() -> None:
                context.check_cancelled()
                context.progress(file.tell())
                if version_of(path) != ordered.version:
                    raise UnusableFileError("changed after it was ordered")

            with unpack(file) as stream:
                return count_words(stream, on_read, options.slow)
    except UnicodeDecodeError:
        raise UnusableFileError("a binary file, or not in UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UnusableFileError(getattr(error, "strerror", None) or str(error)) from error


def version_of(path: Path) -> str:
    """Return what changes with a file: its size and the time of its last change."""
    return f"{path.stat().st_size} {path.stat().st_mtime_ns}"


def open_regular(path: Path, jobs: Path) -> IO[bytes]:
    """Open a file that ends, and is not SQLite's, which would lose its locks with the close."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnusableFileError("a directory" if path.is_dir() else "not a regular file")
    if str(path.resolve()).startswith(str(jobs.resolve())):
        raise UnusableFileError("a file of the jobs")
    return path.open("rb")


def count_words(stream: IO[bytes], on_read: Callable[[], None], slow_seconds: float) -> Counts:
    """Count line feeds, words between blanks, and the most frequent terms.

    Reads in chunks that end between words. Only a word longer than a chunk is cut.
    """
    lines, words, terms, rest, is_end = 0, 0, Counter[str](), "", False
    with TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        while not is_end:
            read = text.read(CHUNK_CHARACTERS)
            is_end, chunk = len(read) < CHUNK_CHARACTERS, rest + read
            cut = max(chunk.rfind(" "), chunk.rfind("\n")) + 1
            chunk, rest = (chunk, "") if is_end or not cut else (chunk[:cut], chunk[cut:])
            if "\0" in chunk:
                raise UnusableFileError("a binary file: it has NUL characters")
            lines += chunk.count("\n")
            words += len(chunk.split())
            terms.update(TERM.findall(chunk.casefold()))
            on_read()
        end = time.monotonic() + slow_seconds
        while time.monotonic() < end:
            time.sleep(0.05)
            on_read()
    return Counts(lines=lines, words=words, terms=terms.most_common(TERMS_SHOWN))


# --- the jobs -------------------------------------------------------------------------------------


def order(engine: SyncJobEngine, path: Path) -> Job:
    """Create the job of a file as it is now, or find it.

    A job that failed in an earlier run is repeated: the file may be usable now.
    """
    file = File(path=quote_from_bytes(os.fsencode(path.absolute())), version="none")
    with suppress(OSError):
        file.version = version_of(path)
    job = engine.create(
        kind="compressed" if path.suffix == ".gz" else "plain",
        input=file,
        idempotency_key=sha256(file.model_dump_json().encode()).hexdigest(),
        start=True,
    )
    while job.outcome is Outcome.FAILED:
        job = engine.repeat(job.job_id)
    return job


def follow(news: Iterator[Transition | Progress], names: dict[str, str], running: set[str]) -> None:
    """Show the end of each job on a line; on a terminal, one line shows how far all are."""
    ends, read = Counter[str](), Counter[str]()
    while running:
        if ON_TERMINAL:
            ended = "".join(f"{number} {status}, " for status, number in ends.items())
            all_read = f"{read.total() / 1e6:.1f} MB read"
            overwrite(f"{ended}{len(running)} running of {len(names)}; {all_read}")
        event = next(news)
        if event.job_id not in running:
            continue  # of an earlier run with other files
        if isinstance(event, Progress):
            read[event.job_id] = int(event.done)
            continue
        running.remove(event.job_id)
        ends[event.to_status] += 1
        if not ON_TERMINAL:
            print(f"{names[event.job_id]}: {event.to_status}", flush=True)


def count_files(options: Namespace) -> int:
    """Count the words of all files, print the table, and return the exit code."""
    handlers = {kind: partial(count, unpack=KINDS[kind], options=options) for kind in KINDS}
    engine = SyncJobEngine(options.jobs)
    # You may kill it as often as you like.
    worker = Worker(
        engine, handlers, concurrency=options.at_once, max_deaths=1_000, grace_seconds=0
    )
    with engine:
        jobs = [order(engine, path) for path in options.files]
        before = sum(job.outcome is not None for job in jobs)
        names = {job.job_id: name_of(path) for job, path in zip(jobs, options.files, strict=True)}
        news = engine.watch(progress=True)
        with worker, suppress(KeyboardInterrupt):
            follow(news, names, {job.job_id for job in jobs if job.outcome is None})
        jobs = [engine.get(job.job_id) for job in jobs]
    print_table(options.files, jobs)
    completed = sum(job.outcome is Outcome.SUCCEEDED for job in jobs)
    print(f"{completed} of {len(jobs)} completed" + f", {before} of them before" * bool(before))
    if any(job.outcome is None for job in jobs):
        raise KeyboardInterrupt
    return 0 if completed == len(jobs) else 1


# --- the output -----------------------------------------------------------------------------------


def name_of(path: Path) -> str:
    """Return a path without control characters and broken encodings."""
    text = os.fsencode(path).decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def overwrite(text: str) -> None:
    """Overwrite the last line of the terminal."""
    width = shutil.get_terminal_size().columns - 1
    print(f"\r{text[:width].ljust(width)}\r", end="", flush=True)


def print_table(paths: Sequence[Path], jobs: Sequence[Job]) -> None:
    """Print a row for every file; on a terminal they are cut to fit."""
    if ON_TERMINAL:
        overwrite("")
    rows = [("file", "status", "lines", "words", "most frequent terms, or the error")]
    for path, job in zip(paths, jobs, strict=True):
        cells = ("", "", (job.error or "").removeprefix("UnusableFileError: "))
        if job.outcome is Outcome.SUCCEEDED:
            found = Counts.model_validate(job.value)
            terms = ", ".join(f"{term} {number}" for term, number in found.terms)
            cells = (str(found.lines), str(found.words), terms)
        rows.append((name_of(path), job.status, *cells))
    file, status, lines, words = (max(len(row[column]) for row in rows) for column in range(4))
    for row in rows:
        left = f"{row[0]:{file}}  {row[1]:{status}}  {row[2]:>{lines}}  {row[3]:>{words}}  "
        room = max(shutil.get_terminal_size().columns - len(left), 0) if ON_TERMINAL else None
        print((left + row[4][:room]).rstrip())


# --- the command ----------------------------------------------------------------------------------


def main() -> int:
    """Run the command and return its exit code."""
    parser = ArgumentParser(
        description="Count the lines, words and most frequent terms of text files (UTF-8, also "
        "compressed by gzip). Stop it halfway, run it again, and it goes on. A counted file is "
        "counted again only if its size or its time of change is another.",
        epilog="Exit code: 0 all completed, 1 some failed, 2 wrong usage, 3 the jobs can't be "
        "stored, 130 interrupted.",
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="a text")
    add("--at-once", type=int, default=4, metavar="N", help="files at the same time")
    add(
        "--jobs",
        type=Path,
        default="count_words.db",
        metavar="FILE",
        help="where the jobs are kept",
    )
    add("--slow", type=float, default=0, metavar="SECONDS", help="how much longer each file takes")
    options = parser.parse_args()
    logging.getLogger("engine.worker").setLevel(logging.CRITICAL)  # the table shows unusable files
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # "?" for characters that an old terminal lacks
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when a pipe's reader has gone
    try:
        return count_files(options)
    except InvalidValueError as error:
        parser.error(str(error))
    except StorageError as error:
        print(f"count_words.py: error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
