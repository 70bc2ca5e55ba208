"""The benchmark runs, on a small scale; its figures are not judged.

It asks git for the commit that it measures, and so needs the repository.
"""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import anyio
import psycopg
import pytest

from tests.bench import peers, postgres_calls, postgres_peers, working, working_peers
from tests.bench.git import GitError, git
from tests.bench.machine import commit_of
from tests.bench.measure import Best, repeated
from tests.bench.page import (
    BrokenMarkerError,
    MissingMarkerError,
    Page,
    PageError,
    UnknownMarkerError,
    UnreadablePageError,
)
from tests.bench.postgres_floors import PlainPostgres
from tests.bench.rounds import Rounds
from tests.bench.rows import Row, Stated
from tests.bench.tables import TABLES
from tests.bench.working_floors import PlainWork
from tests.postgres import Databases

_ROOT = Path(__file__).parents[1]
_PAGE = _ROOT / "docs" / "benchmarks.md"
_LINE = re.compile(
    r"Measured on \d{4}-\d\d-\d\d at commit [0-9a-f]{7,}(\+changes)?: CPython 3\.[\d.]+,"
    r" anyio [\d.]+, trio [\d.]+, pydantic [\d.]+, SQLite [\d.]+; \d+ cores,"
    r" .*a sync of the disk in .*[\d.]+ ms; load .*; (best|median) of \d+ .*\."
)
_in_repository = pytest.mark.skipif(not (_ROOT / ".git").exists(), reason="git has the commits")


def _start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _run(*arguments: str) -> list[str]:
    """Return the lines that the benchmark prints."""
    done = _start(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def _titles(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("### ")]


def _rows(lines: list[str]) -> list[list[str]]:
    """Return the cells of each row, heads included.

    They are work, figure, floor, ratio, spread, target and verdict.
    """
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| ")]
    assert all(len(row) == 7 and all(cell.strip() for cell in row[:6]) for row in rows)
    return rows


@_in_repository
@pytest.mark.thorough
def test_the_benchmark_prints_every_table() -> None:
    lines = _run()
    assert _titles(lines) == [
        "### A million live jobs",
        "### Claims of many kinds",
        "### Awaited",
        "### Threads",
        "### Durable",
        "### Start on a large file",
        "### Jobs with a handler",
        "### One job at a time",
        "### Jobs with follow-ups",
        "### Handlers in processes",
        "### Jobs that wait at a gate",
        "### Finding jobs",
        "### Judging answers",
        "### Watching",
        "### Pages of the dashboard",
        "### Open dashboards",
        "### What a get is made of",
    ]
    judged = 6 if find_spec("jsonschema") is None else 9
    # The tables in the order of their titles, each with its head.
    assert (
        len(_rows(lines))
        == 8 + 3 + 9 + 10 + 13 + 4 + 9 + 17 + 3 + 10 + 4 + 17 + judged + 11 + 21 + 5
    )
    assert sum(line.startswith("Measured on ") for line in lines) == 17


@_in_repository
@pytest.mark.thorough
def test_the_benchmark_draws_the_durable_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="an optional part of the benchmark")
    picture = tmp_path / "durable.svg"
    lines = _run("--only", "durable", "--picture", str(picture))
    assert _titles(lines) == ["### Durable"]
    drawn = picture.read_text(encoding="utf-8")
    assert "concurrent callers</text>" in drawn
    assert "<dc:date>" not in drawn


@_in_repository
@pytest.mark.thorough
def test_the_benchmark_measures_peers_that_are_installed() -> None:
    for name in ("huey", "dbos"):
        pytest.importorskip(name, reason="an optional part of the benchmark")
    lines = _run("--only", "peers")
    assert _titles(lines) == ["### Durable, beside other packages"]
    assert len(_rows(lines)) == 1 + 3 + 4


@_in_repository
@pytest.mark.thorough
def test_the_benchmark_has_peers_run_jobs() -> None:
    names = [name for name in working_peers.NAMES if peers.why_left_out(name) is None]
    if not names:
        pytest.skip("an optional part of the benchmark")
    lines = _run("--only", "working_peers")
    assert _titles(lines) == ["### Jobs with a handler, beside other packages"]
    assert len(_rows(lines)) == 1 + len(names)
    left_out = [line for line in lines if "is left out" in line]
    assert len(left_out) == len(working_peers.NAMES) - len(names)


@_in_repository
@pytest.mark.thorough
def test_the_benchmark_measures_engines_on_a_postgres_server() -> None:
    lines = _run("--only", "postgres")
    assert _titles(lines) == ["### Engines on a PostgreSQL server"]
    names = [name for name in postgres_peers.NAMES if peers.why_left_out(name) is None]
    assert len(_rows(lines)) == 1 + 6 + len(names) + 3 * ("pgqueuer" in names) + 5 + 3
    left_out = [line for line in lines if "is left out" in line]
    assert len(left_out) == len(postgres_peers.NAMES) - len(names)
    [server] = [line for line in lines if line.startswith("- PostgreSQL ")]
    assert "with fsync on, synchronous_commit on," in server


def _places(page: str) -> dict[str, str]:
    """Return the text of each table's place."""
    return dict(re.findall(r"(?ms)^<!-- table: (\w+) -->\n(.*?)^<!-- end: \1 -->$", page))


def test_every_table_has_a_place_on_the_page_and_a_line_about_its_origin() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    places = _places(page)
    assert {*places} == {*TABLES}
    for name, text in places.items():
        *_, origin = text.strip().split("\n\n")
        assert _LINE.fullmatch(origin.replace("\n", " ")), name
        assert ("| work" in text) is (name != "pieces")
    rest = re.sub(r"(?ms)^<!-- table.*?^<!-- end.*?$", "", page)
    assert not re.search(r"(?m)^\|", rest)


@pytest.mark.thorough
@_in_repository
def test_the_benchmark_writes_what_it_measured_and_leaves_the_rest_of_the_page(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "page.md"
    copy.write_bytes(_PAGE.read_bytes())
    lines = _run("--only", "awaited,pieces", "--write", str(copy))
    before, after = (page.read_text(encoding="utf-8") for page in (_PAGE, copy))
    old, new = _places(before), _places(after)
    assert [name for name in TABLES if old[name] != new[name]] == ["awaited", "pieces"]
    for name in ("awaited", "pieces"):
        assert new[name].startswith("\n")
        assert new[name].endswith("\n\n")
        assert new[name].strip() in "\n".join(lines)
        before, after = before.replace(old[name], ""), after.replace(new[name], "")
        *_, origin = new[name].strip().split("\n\n")
        assert _LINE.fullmatch(origin.replace("\n", " "))
        assert "of 1 turn, counts divided by 100: no figures." in origin.replace("\n", " ")
    assert after == before
    assert all(len(line) <= 100 for line in new["pieces"].splitlines())


_PLACE = "<!-- table: awaited -->\n<!-- end: awaited -->\n"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, UnreadablePageError, "page.md can't be read and written: .* No such file"),
        (b"\xff", UnreadablePageError, "page.md can't be read and written: 'utf-8' codec"),
        (b"# Page\n", MissingMarkerError, "has no place for awaited: add the lines <!-- table: "),
        (
            _PLACE.encode() + _PLACE.replace("awaited", "faster").encode(),
            UnknownMarkerError,
            "page.md has a marker of 'faster', which is no table: choose from million, kinds,",
        ),
        (b"<!-- table: awaited -->\n", BrokenMarkerError, "needs one line <!-- table: awaited"),
        (
            _PLACE.replace("\n", "\n<!-- table: pieces -->\n", 1).encode(),
            BrokenMarkerError,
            "needs one line <!-- table: awaited",
        ),
        (2 * _PLACE.encode(), BrokenMarkerError, "needs one line <!-- table: awaited"),
    ],
    ids=["missing", "no-text", "no-markers", "unknown", "no-end", "nested", "twice"],
)
def test_a_page_without_a_clear_place_for_a_table_is_refused_and_left_alone(
    tmp_path: Path, text: bytes | None, error: type[PageError], message: str
) -> None:
    path = tmp_path / "page.md"
    if text is not None:
        path.write_bytes(text)
    page = Page(path, TABLES)
    with pytest.raises(error, match=message):
        page.check(["awaited"])
    with pytest.raises(error, match=message):
        page.write("awaited", "text")
    assert (path.read_bytes() if path.exists() else None) == text


@pytest.mark.thorough
@_in_repository
def test_the_benchmark_refuses_a_page_before_it_measures(tmp_path: Path) -> None:
    done = _start("--write", str(tmp_path / "page.md"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python -m tests.bench: error: ")
    assert "page.md can't be read and written" in done.stderr


def test_changes_of_the_page_are_no_changes_of_what_is_measured(tmp_path: Path) -> None:
    page, code = tmp_path / "page.md", tmp_path / "code.py"
    page.touch()
    code.touch()
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, *identity, "commit", "--quiet", "--message", "First")
    head = git(tmp_path, "rev-parse", "--short", "HEAD")
    page.write_text("changed", encoding="utf-8")
    assert commit_of(tmp_path, page) == head
    assert commit_of(tmp_path) == f"{head}+changes"
    code.write_text("changed", encoding="utf-8")
    assert commit_of(tmp_path, page) == f"{head}+changes"


def test_a_tree_without_a_commit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        commit_of(tmp_path)


@pytest.mark.parametrize(
    ("turns", "steps", "target", "measured"),
    [
        (5, [1.0, 1.01, 1.0, 1.02, 1.0], 0.5, 5),
        (5, [1.0, 2.0] * 8, 0.5, 15),
        (5, [1.0, 2.0, 1.0, 2.0, 1.0, *[1.0] * 10], 0.5, 9),  # then half of the turns agree
        (5, [1.0, 2.0] * 8, None, 5),  # nothing hangs on it
        (1, [1.0, 2.0, 1.0], 0.5, 1),
    ],
)
def test_turns_are_repeated_while_the_ratio_of_a_target_spreads(
    turns: int, steps: list[float], target: float | None, measured: int
) -> None:
    rounds = Rounds()

    def table() -> list[Row]:
        steady = Row("other work", rounds["steady"], "floor", 1.0, 0.5)
        if target is None:
            return [steady, Stated("work", rounds["ratio"], "floor", 1.0)]
        return [steady, Row("work", rounds["ratio"], "floor", 1.0, target)]

    for turn in repeated("work", turns, table):
        rounds.add("steady", 1.0)
        rounds.add("ratio", steps[turn - 1])
    assert len(rounds["ratio"].turns) == measured


def test_the_spread_of_a_row_is_that_of_the_ratios_of_its_turns() -> None:
    best = Best()
    for seconds, floor in ((1.0, 0.5), (2.0, 0.5), (4.0, 2.0)):
        best.add("engine", 1, seconds)
        best.add("floor", 1, floor)
    row = Row("work", best["engine"], "floor", best["floor"], 0.5)
    # The best rates are 1 and 2; the ratios are 0.5, 0.25 and 0.5.
    assert row.cells()[1:] == (
        "1.00 1/s",
        "floor: 2.00 1/s",
        "0.50",
        "0.38 to 0.50",
        "at least 0.5",
        "met",
    )
    assert not row.is_steady


@pytest.mark.parametrize("name", postgres_calls.WORK)
def test_the_floor_writes_the_rows_of_an_engine_on_a_postgres_server(
    name: str, databases: Databases
) -> None:
    work, (url, plain_url) = postgres_calls.WORK[name], (databases.new(), databases.new())
    anyio.run(postgres_calls.engine_seconds, url, work, working.BATCH)
    with PlainPostgres(plain_url) as plain:
        work.plain(plain, working.BATCH)
    ours, theirs = (_postgres_shapes(each) for each in (url, plain_url))
    assert len(ours) == working.BATCH * (4 if "run" in name else 2)
    assert ours == theirs
    for each in (url, plain_url):
        databases.drop(each)


def _postgres_shapes(url: str) -> list[str]:
    """Return the rows of jobs and transitions; question marks for ids and times."""
    with psycopg.connect(url) as connection:
        jobs = connection.execute("SELECT * FROM engine.jobs ORDER BY position").fetchall()
        lines = connection.execute("SELECT * FROM engine.transitions ORDER BY sequence").fetchall()
    different = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|datetime\.datetime\([^)]*\)\)")
    return [different.sub("?", str(row)) for row in (*jobs, *lines)]


@pytest.mark.parametrize("way", ["in bulks of 100", "at once, in bulks of 100"])
def test_the_floor_writes_the_rows_of_jobs_with_a_handler(tmp_path: Path, way: str) -> None:
    at_once = working.WAYS[way].at_once
    anyio.run(working.run_jobs, way, tmp_path / "engine.db", working.BATCH)
    with closing(PlainWork(tmp_path / "floor.db")) as plain:
        (plain.live_running if at_once else plain.live)(working.BATCH)
    ours, theirs = (_shapes(tmp_path / name) for name in ("engine.db", "floor.db"))
    assert len(ours) == working.BATCH * (3 if at_once else 4)
    assert ours == theirs


def _shapes(path: Path) -> list[str]:
    """Return the rows of jobs and transitions; question marks for ids and times, no checksums."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE jobs SET checksum = 0")
        connection.execute("UPDATE transitions SET checksum = 0")
        jobs = connection.execute("SELECT * FROM jobs ORDER BY position").fetchall()
        lines = connection.execute("SELECT * FROM transitions ORDER BY sequence").fetchall()
    different = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z")
    return [different.sub("?", str(row)) for row in (*jobs, *lines)]
