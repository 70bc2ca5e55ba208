"""Types: type checkers know the types of an engine's calls, and find wrong ones.

mypy must find no mistake in a program, and without the ``type: ignore`` comments one in each of
these lines. pyright must find no mistake, and a mistake wherever such a comment ignores one.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PROGRAMS = [HERE / f"{name}.py" for name in ("statuses", "values", "handlers")]
ROOT = HERE.parents[1]
IGNORED = re.compile(r"  # type: ignore\[(.*)\]")

each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int, str]]:
    """A mistake that mypy finds: the name of the file, the line, and the name of the rule."""
    folder = tmp_path_factory.mktemp("typing")
    wrong = [folder / _wrong(program) for program in PROGRAMS]
    for program, copy in zip(PROGRAMS, wrong, strict=True):
        copy.write_text(IGNORED.sub("", program.read_text()))
    config = f"--config-file={ROOT / 'pyproject.toml'}"
    # A process of its own: what mypy leaves behind would slow down every later garbage collection.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", config, "--no-error-summary", *PROGRAMS, *wrong],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert not done.stderr
    errors = re.findall(r"^(.+?):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert len(errors) == done.stdout.count(": error: "), done.stdout
    return [(Path(file).name, int(line), rule) for file, line, rule in errors]


def _wrong(program: Path) -> str:
    return f"wrong_{program.name}"


@each_program
@pytest.mark.thorough
def test_the_types_are_as_asserted(program: Path, found: list[tuple[str, int, str]]) -> None:
    assert [error for error in found if error[0] == program.name] == []


@each_program
@pytest.mark.thorough
def test_every_wrong_type_is_found(program: Path, found: list[tuple[str, int, str]]) -> None:
    ignored = [
        (number, match[1])
        for number, line in enumerate(program.read_text().splitlines(), start=1)
        if (match := IGNORED.search(line))
    ]
    assert len(ignored) >= 6
    wrong = [(line, rule) for file, line, rule in found if file == _wrong(program)]
    assert list(dict.fromkeys(wrong)) == ignored  # a line may have two of a kind


@pytest.mark.thorough
def test_pyright_agrees(tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="needs the package pyright")
    for program in PROGRAMS:  # it looks below its configuration
        shutil.copy(program, tmp_path)
    config = tmp_path / "pyrightconfig.json"
    rules = {"extraPaths": [str(ROOT)], "reportUnnecessaryTypeIgnoreComment": True}
    config.write_text(json.dumps(rules))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, "--project", config, "--outputjson"],
        capture_output=True,
        timeout=300,
        check=False,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == len(PROGRAMS)
    assert told["generalDiagnostics"] == []
