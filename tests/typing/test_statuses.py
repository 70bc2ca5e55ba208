"""Types: mypy knows the statuses of an engine's jobs, and finds wrong ones.

mypy must find no mistake in the program, and without the ``type: ignore`` comments one in each of
these lines.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("statuses.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int, str]]:
    """A mistake that mypy finds: the name of the file, the line, and the name of the rule."""
    folder = tmp_path_factory.mktemp("typing")
    wrong = folder / "wrong.py"
    wrong.write_text(re.sub(r"  # type: ignore\[.*\]", "", PROGRAM.read_text()))
    config = f"--config-file={ROOT / 'pyproject.toml'}"
    # A process of its own: what mypy leaves behind would slow down every later garbage collection.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", config, "--no-error-summary", str(PROGRAM), str(wrong)],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert not done.stderr
    errors = re.findall(r"^(.+?):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert len(errors) == done.stdout.count(": error: "), done.stdout
    return [(Path(file).name, int(line), rule) for file, line, rule in errors]


@pytest.mark.thorough
def test_the_types_are_as_asserted(found: list[tuple[str, int, str]]) -> None:
    assert [error for error in found if error[0] == PROGRAM.name] == []


@pytest.mark.thorough
def test_every_wrong_status_is_found(found: list[tuple[str, int, str]]) -> None:
    ignored = [
        (number, match[1])
        for number, line in enumerate(PROGRAM.read_text().splitlines(), start=1)
        if (match := re.search(r"# type: ignore\[(.*)\]", line))
    ]
    assert len(ignored) >= 12
    assert [(line, rule) for file, line, rule in found if file == "wrong.py"] == ignored
