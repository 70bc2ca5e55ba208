"""`count_words.py` stopped halfway: the same command resumes, and counts nothing twice."""

import signal
import subprocess
from pathlib import Path

import pytest

from engine import Job, Outcome, SyncJobEngine
from tests.examples.programs import COUNT_WORDS, INTERRUPTED, TIMEOUT_SECONDS, count, table

NAMES = [f"file{number}" for number in range(6)]


def jobs_in(folder: Path) -> list[Job]:
    with SyncJobEngine(folder / "count_words.db") as engine:
        return list(engine.list_jobs().jobs)


def stop_half_way(folder: Path, number: signal.Signals) -> tuple[int, str, str]:
    """Stop it when the second file is done; each takes a second, and one is counted at a time."""
    with subprocess.Popen(
        [*COUNT_WORDS, "--at-once", "1", "--slow", "1", *NAMES],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        before = ""
        while before.count(": completed\n") < 2:
            line = process.stdout.readline()
            assert line, before
            before += line
        process.send_signal(number)
        rest, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, before + rest, errors


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("number", "code", "errors"),
    [
        (signal.SIGINT, 130, INTERRUPTED),
        (signal.SIGTERM, 130, INTERRUPTED),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_stopped_half_way_it_goes_on_where_it_was(
    tmp_path: Path, number: signal.Signals, code: int, errors: str
) -> None:
    for place, name in enumerate(NAMES):
        (tmp_path / name).write_text("word " * (place + 1))
    stopped = stop_half_way(tmp_path, number)
    assert (stopped[0], stopped[2]) == (code, errors)
    left = {job.job_id: job for job in jobs_in(tmp_path)}
    done = [job for job in left.values() if job.outcome is Outcome.SUCCEEDED]
    assert 2 <= len(done) < len(NAMES) == len(left)

    again = count(tmp_path, *NAMES)

    assert (again.returncode, again.stderr) == (0, "")
    assert [(row[0], row[3]) for row in table(again.stdout)] == [
        (name, str(place + 1)) for place, name in enumerate(NAMES)
    ]
    lines = again.stdout.splitlines()
    assert sum(line.endswith(": completed") for line in lines) == len(NAMES) - len(done)
    assert lines[-1] == f"6 of 6 completed, {len(done)} of them before"
    # The finished jobs are unchanged, and the others are the same jobs as before.
    assert {job.job_id: job for job in jobs_in(tmp_path)}.keys() == left.keys()
    assert [job for job in jobs_in(tmp_path) if job in done] == done


@pytest.mark.thorough
def test_only_a_file_that_has_changed_or_failed_is_counted_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n")
    (tmp_path / "b").write_text("one\n")
    count(tmp_path, "a", "b", "c")
    (tmp_path / "b").write_text("one two\n")
    again = count(tmp_path, "a", "b", "c")
    assert sorted(again.stdout.splitlines()[:2]) == ["b: completed", "c: failed"]
    assert [row[3] for row in table(again.stdout)[:2]] == ["1", "2"]
    assert again.stdout.endswith("2 of 3 completed, 1 of them before\n")
    (tmp_path / "c").write_text("one two three\n")
    (tmp_path / "a").unlink()
    last = count(tmp_path, "a", "b", "c")
    assert [row[1] for row in table(last.stdout)] == ["failed", "completed", "completed"]
    repeats = [job.repeat_of for job in jobs_in(tmp_path) if job.repeat_of]
    assert len(repeats) == 1  # of the file that was missing twice


@pytest.mark.thorough
def test_the_file_of_the_jobs_is_never_opened_as_a_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n")
    count(tmp_path, "--jobs", "mine", "a")
    again = count(tmp_path, "--jobs", "mine", "mine", "mine-lock")
    assert (again.returncode, again.stderr) == (1, "")
    kept = ["failed", "a", "file", "of", "the", "jobs"]
    assert table(again.stdout) == [["mine", *kept], ["mine-lock", *kept]]
    assert not (tmp_path / "count_words.db").exists()


def test_jobs_that_somebody_else_has_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n")
    with SyncJobEngine(tmp_path / "count_words.db"):
        refused = count(tmp_path, "a")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.startswith("count_words.py: error: ")
    assert "is in use by another engine" in refused.stderr
    assert refused.stderr.count("\n") == 1
