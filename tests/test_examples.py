"""The examples keep their promises, run as users run them: as programs, on real files.

`count_words.py` runs in a pipe, with every kind of unusable file; its numbers are compared with a
second, simpler count. `tests.examples` runs it on a terminal, stops it halfway and starts it again,
and calls the shop.
"""

import gzip
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from engine import SyncJobEngine
from tests.examples.programs import COUNT_WORDS, EXAMPLES, TIMEOUT_SECONDS, count, run, table
from tests.tries import thorough

# --- files that can be counted --------------------------------------------------------------------


def test_numbers_and_terms_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "poem").write_text("Rose is a rose\nis a ROSE, naïve naïve\n", encoding="utf-8")
    done = count(tmp_path, "poem")
    assert (done.returncode, done.stderr) == (0, "")
    assert table(done.stdout) == [["poem", "completed", "2", "9", "rose", "3,", "naïve", "2"]]
    assert done.stdout.endswith("1 of 1 completed\n")


def test_a_pipe_gets_a_plain_line_for_every_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n")
    done = count(tmp_path, "a", "missing", "./a")
    lines = done.stdout.partition("file ")[0].splitlines()
    assert sorted(lines) == ["a: completed", "missing: failed"]
    assert "\r" not in done.stdout
    assert "\x1b" not in done.stdout


def test_a_compressed_text_is_counted_as_the_text(tmp_path: Path) -> None:
    text = b"rose and thorn\n" * 100_000
    (tmp_path / "rose.gz").write_bytes(gzip.compress(text))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(text)[:-9])
    (tmp_path / "flipped.gz").write_bytes(gzip.compress(text)[:99] + b"?" * 99)
    (tmp_path / "plain.gz").write_bytes(text)
    done = count(tmp_path, "rose.gz", "cut.gz", "flipped.gz", "plain.gz")
    assert (done.returncode, done.stderr) == (1, "")
    counted, *failed = table(done.stdout)
    numbers = ["100000", "300000", "rose", "100000,", "thorn", "100000"]
    assert counted == ["rose.gz", "completed", *numbers]
    assert [row[:2] for row in failed] == [
        [f"{name}.gz", "failed"] for name in ("cut", "flipped", "plain")
    ]
    assert all(len(row) > 3 for row in failed)  # each says why
    with SyncJobEngine(tmp_path / "count_words.db") as engine:
        assert {job.kind for job in engine.list_jobs().jobs} == {"compressed"}


@pytest.mark.thorough
@pytest.mark.parametrize("content", ["", "\ufeff"])
def test_an_empty_file_is_a_text(tmp_path: Path, content: str) -> None:
    (tmp_path / "empty").write_text(content, encoding="utf-8")
    done = count(tmp_path, "empty")
    assert (done.returncode, done.stderr) == (0, "")
    assert table(done.stdout) == [["empty", "completed", "0", "0"]]


@pytest.mark.thorough
@pytest.mark.parametrize("start", ["x", *thorough("", "rose ", "\ufeff")])
def test_a_large_file_is_counted_in_pieces_without_cutting_words(
    tmp_path: Path, start: str
) -> None:
    text = start + "naïveté rose\n" * 250_000  # 3.5 MB: pieces end within words and characters
    (tmp_path / "large").write_text(text, encoding="utf-8")
    done = count(tmp_path, "large")
    words = text.removeprefix("\ufeff").split()
    assert (done.returncode, done.stderr) == (0, "")
    [row] = table(done.stdout)
    assert row[:4] == ["large", "completed", str(text.count("\n")), str(len(words))]
    terms = ", ".join(f"{term} {times}" for term, times in Counter(words).most_common(5))
    assert terms in done.stdout


@pytest.mark.thorough
def test_a_text_without_blanks_is_counted_too(tmp_path: Path) -> None:
    (tmp_path / "one word").write_text("ab1" * 1_000_000)
    done = count(tmp_path, "one word")
    assert (done.returncode, done.stderr) == (0, "")
    assert "completed" in done.stdout


@pytest.mark.thorough
def test_many_files_few_at_once_in_the_order_given(tmp_path: Path) -> None:
    names = [f"file{number:03}" for number in range(50)]
    for number, name in enumerate(names):
        (tmp_path / name).write_text("word " * number)
    done = count(tmp_path, "--at-once", "3", *reversed(names), names[7], names[7])
    expected = [*reversed(range(50)), 7, 7]
    assert [(row[0], row[3]) for row in table(done.stdout)] == [
        (names[number], str(number)) for number in expected
    ]
    assert (done.returncode, done.stderr) == (0, "")


# --- files that can't -----------------------------------------------------------------------------


UNUSABLE = {
    "missing": "No such file or directory",
    "text/below": "Not a directory",
    "n" * 300: "File name too long",
    "loop": "Too many levels of symbolic links",
    "directory": "a directory",
    "pipe": "not a regular file",
    "/dev/zero": "not a regular file",
    "nul": "a binary file: it has NUL characters",
    "latin": "a binary file, or not in UTF-8",
    "cut": "a binary file, or not in UTF-8",
    sys.executable: "a binary file, or not in UTF-8",
}


def test_an_unusable_file_is_a_failed_job_and_harms_no_other(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text\n")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nul").write_bytes(b"text\0text\n")
    (tmp_path / "latin").write_bytes("naïve\n".encode("latin-1"))
    (tmp_path / "cut").write_bytes("ï".encode()[:1])
    (tmp_path / "loop").symlink_to("loop")
    done = count(tmp_path, *UNUSABLE, "text")
    assert (done.returncode, done.stderr) == (1, "")
    *failed, completed = table(done.stdout)
    assert failed == [[name, "failed", *error.split()] for name, error in UNUSABLE.items()]
    assert completed == ["text", "completed", "1", "1", "text", "1"]
    assert done.stdout.endswith(f"1 of {len(UNUSABLE) + 1} completed\n")


@pytest.mark.thorough
def test_a_file_without_permission_is_a_failed_job(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("text\n")
    (tmp_path / "secret").chmod(0)
    command = [*COUNT_WORDS, "secret"]
    if os.access(tmp_path / "secret", os.R_OK):  # root may read everything
        if shutil.which("setpriv") is None:
            pytest.skip("root reads every file, and there is no setpriv to take that away")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    done = run(command, tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert table(done.stdout) == [["secret", "failed", "Permission", "denied"]]


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file whose reading fails")
def test_a_file_that_can_be_opened_and_not_read_is_a_failed_job(tmp_path: Path) -> None:
    done = count(tmp_path, "/proc/self/mem")
    assert (done.returncode, done.stderr) == (1, "")
    assert table(done.stdout) == [["/proc/self/mem", "failed", "Input/output", "error"]]


@pytest.mark.thorough
def test_a_file_that_changes_before_it_is_counted_is_a_failed_job(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("as ordered\n")
    program = f"""
import sys; sys.path.insert(0, {str(EXAMPLES)!r})
import count_words
from pathlib import Path
class Worker(count_words.Worker):
    def __enter__(self):
        Path("text").write_text("another text")
        return super().__enter__()
count_words.Worker = Worker
sys.argv = ["count_words.py", "text"]
sys.exit(count_words.main())
"""
    done = run([sys.executable, "-W", "error", "-c", program], tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert table(done.stdout) == [["text", "failed", "changed", "after", "it", "was", "ordered"]]
    assert table(count(tmp_path, "text").stdout)[0][1] == "completed"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param(b"two\nlines", "two?lines", marks=pytest.mark.thorough),
        (b"red\x1b[31m", "red?[31m"),
        pytest.param(b"latin\xef", "latin\ufffd", marks=pytest.mark.thorough),
        pytest.param("日本語".encode(), "日本語", marks=pytest.mark.thorough),
    ],
)
def test_odd_names_are_shown_harmlessly(tmp_path: Path, name: bytes, shown: str) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    Path(os.fsdecode(path)).write_text("text\n")
    done = count(tmp_path, os.fsdecode(name))
    assert (done.returncode, done.stderr) == (0, "")
    assert table(done.stdout) == [[shown, "completed", "1", "1", "text", "1"]]


@pytest.mark.thorough
def test_an_output_that_has_no_unicode_shows_question_marks(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("naïveté\n", encoding="utf-8")
    done = run(["env", "PYTHONIOENCODING=ascii", *COUNT_WORDS, "text"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert table(done.stdout) == [["text", "completed", "1", "1", "na?vet?", "1"]]


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no", "f"],
        *thorough([], ["--slow", "x", "f"], ["--at-once", "0", "f"], ["--at-once", "x", "f"]),
        *thorough(["--at-once", "10001", "f"]),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(tmp_path: Path, arguments: list[str]) -> None:
    done = count(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: count_words.py")
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.thorough
def test_help_tells_of_arguments_and_exit_codes(tmp_path: Path) -> None:
    done = count(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("FILE", "--at-once", "--jobs", "--slow", "UTF-8", "Exit code", "count_words.db"):
        assert words in " ".join(done.stdout.split())


@pytest.mark.thorough
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    names = [f"text{number}" for number in range(20)]
    for name in names:
        (tmp_path / name).write_text("text\n")
    with subprocess.Popen(
        [*COUNT_WORDS, "--at-once", "1", "--slow", "0.1", *names],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"text0: completed\n"
        process.stdout.close()
        assert process.wait(TIMEOUT_SECONDS) == -signal.SIGPIPE
        assert process.stderr.read() == b""


# --- the two applications -------------------------------------------------------------------------


def test_asyncio_application(tmp_path: Path) -> None:
    done = run([sys.executable, "-W", "error", str(EXAMPLES / "asyncio_app.py")], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "Cid lost the connection: job created or not? unknown" in lines
    assert lines.count("webhook for Cid: paid") == 1
    assert lines.count("webhook for Cid: repeated") == 1
    assert lines.count("webhook for Ben refused: JobEndedError") == 1
    done_way = "awaiting_payment > running > awaiting_input > running > completed"
    assert lines[-3:] == [
        f"a report: {done_way} (done as you like it)",
        "a summary: awaiting_payment > failed (not paid in time)",
        f"a poem: {done_way} (done as you like it)",
    ]


def test_threaded_application(tmp_path: Path) -> None:
    done = run([sys.executable, "-W", "error", str(EXAMPLES / "threads_app.py")], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "4 threads competed for 20 jobs and won 20: {'completed': 20}"
    assert lines[1] == "a bulk call failed at item 1: completed is final"
    assert lines[2] == "item 0 is as it was: awaiting_payment"
    assert lines[-2:] == [
        "sent twice with one key, it is one job: scene 21, version 1",
        "22 jobs, 62 changes",
    ]
