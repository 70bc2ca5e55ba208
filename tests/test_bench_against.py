"""The benchmark compares two trees, on a small scale; figures of real trees are not judged."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.against import Paired, compare
from tests.bench.checkouts import ScenarioError

_ROOT = Path(__file__).parents[1]
_in_repository = pytest.mark.skipif(not (_ROOT / ".git").exists(), reason="git has the commits")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _compared(lines: list[str]) -> list[list[str]]:
    """Return the cells of a comparison, heads included."""
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows]


@_in_repository
@pytest.mark.thorough
def test_the_benchmark_compares_with_a_commit() -> None:
    names = ["memory_get_100", "memory_processes_alone", "job_bytes"]
    done = _run("--against", "HEAD", "--rounds", "1", "--only", ",".join(names))
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert [line.split(": ")[0] for line in lines[1:3]] == ["base", "new"]
    assert "### Against HEAD" in lines
    rows = _compared(lines)
    assert [row[0] for row in rows] == ["scenario", *names]
    assert [row[4] == "" for row in rows] == [False, False, False, True]  # memory takes no time


@_in_repository
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "no-such"], "git finds no commit 'no-such': name a commit, "),
        (["--against", "--only"], "expected one argument"),
        pytest.param(
            ["--against", "HEAD", "--only", "import,fast"],
            "no scenario 'fast': choose from memory_",
            marks=pytest.mark.thorough,
        ),
        (["--against", "HEAD", "--rounds", "0"], "--rounds must be 1 or more, not 0"),
        (["--rounds", "3"], "--rounds is for --against"),
        (["--only", "durable,import"], "there is no table 'import': choose from million, "),
    ],
)
def test_the_benchmark_refuses_what_it_can_not_measure(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["tests.bench", "--quick", *arguments])
    try:
        code: object = main()
    except SystemExit as ended:
        code = ended.code
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert message in captured.err


_PROGRAM = """\
import json, pathlib, sys
import engine

figures = {figures}
if sys.argv[1:]:
    tree = pathlib.Path(engine.__file__).parents[1].name
    with open({log!r}, "a") as log:
        print(sys.argv[1], tree, file=log)
    print(json.dumps({{"wall": figures[sys.argv[1]], "engine": engine.__file__}}))
else:
    print(json.dumps([*figures]))
"""


def _write_tree(root: Path, figures: dict[str, float]) -> None:
    """Write a package, and a benchmark that returns these figures and logs its folder."""
    scenarios = root / "tests" / "bench" / "scenarios"
    scenarios.mkdir(parents=True, exist_ok=True)
    (root / "engine").mkdir(exist_ok=True)
    for folder in (root / "engine", root / "tests"):
        (folder / "__init__.py").touch()
    log = str(root.parent / "log")
    (scenarios / "__main__.py").write_text(_PROGRAM.format(figures=json.dumps(figures), log=log))


def _git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run(["git", "-C", root, *identity, *arguments], check=True, capture_output=True)  # noqa: S607


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository whose commit has its own benchmark; temporary files go to a folder."""
    root, temporary = tmp_path / "repository", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    _write_tree(root, {"same": 3.0, "slower": 4.0, "gone": 1.0})
    _git(root, "init", "--quiet")
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "--message", "First")
    return root


def test_each_tree_is_measured_by_its_own_benchmark_in_turns(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_tree(repository, {"same": 3.0, "slower": 5.0, "added": 1.0})
    assert not compare(repository, "HEAD", None, rounds=2, scale=1.0)
    lines = capsys.readouterr().out.splitlines()
    base, new = (re.sub(r"\b[0-9a-f]{7,}\b", "?", line) for line in lines[1:3])
    assert (base, new) == ("base: ? First", "new: ? First + changes")
    assert [line.split(":")[0] for line in lines if "left out" in line] == ["added is left out"]
    assert [[*row[:4], row[-1]] for row in _compared(lines)[1:]] == [
        ["same", "3.00 µs", "3.00 µs", "1.00 (1.00 to 1.00)", ""],
        ["slower", "4.00 µs", "5.00 µs", "0.80 (0.80 to 0.80)", "worse"],
    ]
    log = (repository.parent / "log").read_text().splitlines()
    orders = [("base", "new"), ("new", "base")]
    assert log == [f"{name} {tree}" for o in orders for name in ("same", "slower") for tree in o]
    assert [*Path(tempfile.gettempdir()).iterdir()] == []


def test_a_commit_without_a_benchmark_is_measured_by_the_present_one(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _git(repository, "rm", "-r", "--quiet", "tests")
    _git(repository, "commit", "--quiet", "--message", "Without")
    _write_tree(repository, {"added": 1.0})
    assert compare(repository, "HEAD", None, rounds=1, scale=1.0)
    assert [row[0] for row in _compared(capsys.readouterr().out.splitlines())[1:]] == ["added"]


def test_a_figure_of_another_engine_is_refused(repository: Path) -> None:
    scenarios = repository / "tests" / "bench" / "scenarios" / "__main__.py"
    program = scenarios.read_text()
    scenarios.write_text(program.replace('"engine": engine.__file__', '"engine": "/other/engine"'))
    with pytest.raises(ScenarioError, match="same measured /other/engine, which is not in "):
        compare(repository, "HEAD", ["same"], rounds=1, scale=1.0)
    assert [*Path(tempfile.gettempdir()).iterdir()] == []


@pytest.mark.parametrize(
    ("new", "is_worse"),
    [
        ([1.0], False),
        ([1.05], False),  # a twentieth is let pass
        ([1.06], True),
        ([1.2, 1.2, 1.2, 0.9], True),
        ([1.2, 1.2, 0.9, 0.9], False),  # it may be chance
    ],
)
def test_a_ratio_is_worse_that_is_too_low_by_more_than_its_spread(
    new: list[float], *, is_worse: bool
) -> None:
    assert Paired([1.0] * len(new), new, "µs").is_worse is is_worse
