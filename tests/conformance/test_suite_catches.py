"""The suite can fail: it catches every broken storage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.conformance import broken
from tests.tries import report

_ROOT = Path(__file__).parents[2]
CAUGHT_BY: Final[dict[type, str]] = {**broken.CAUGHT_BY, **broken.SHARED_CAUGHT_BY}


@pytest.fixture(scope="module")
def failed() -> list[str]:
    """Run the tests that should catch a bug, and return the lines about the failed ones.

    They run in a process of their own, because pytest can't run inside a test.
    """
    chosen = " or ".join(f"({kind.__name__} and {test})" for kind, test in CAUGHT_BY.items())
    options = ["-q", "-rA", "--tb=no", "-o", "addopts=", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", chosen, broken.__file__],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    report(run.stdout)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stderr
    return [line for line in run.stdout.splitlines() if line.startswith("FAILED")]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", CAUGHT_BY, ids=lambda kind: kind.__name__)
def test_a_broken_storage_is_caught(failed: list[str], kind: type) -> None:
    test = CAUGHT_BY[kind]
    caught = [line for line in failed if f"::{test}[" in line and kind.__name__ in line]
    assert caught, f"{kind.__name__} passed {test}"
