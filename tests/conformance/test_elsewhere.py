"""The suite works in other projects: it needs neither the tests nor the settings of this one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_A_TEST_MODULE = '''
import pytest
from engine import MemoryStorage
from engine.testing import StorageSuite

class TestFleetingStorage(StorageSuite):
    outlives_closing = False
    backs_up = False

    @pytest.fixture
    def new_storage(self):
        return lambda path: MemoryStorage()

class TestNothing(StorageSuite):
    """Has no fixture `new_storage`."""
'''


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder with one test module."""
    (tmp_path / "test_mine.py").write_text(_A_TEST_MODULE)
    return tmp_path


@pytest.mark.thorough
def test_a_storage_whose_jobs_go_with_it_passes_what_it_can(elsewhere: Path) -> None:
    chosen = "TestFleetingStorage and trio and not JobEngine"
    run = _run(elsewhere, "-m", "pytest", "-q", "-rs", "-k", chosen)
    assert run.returncode == pytest.ExitCode.OK, run.stdout
    assert "outlives_closing is False" in run.stdout
    assert "backs_up is False" in run.stdout
    counts = re.search(r"(\d+) passed, (\d+) skipped", run.stdout)
    assert counts is not None
    passed, skipped = map(int, counts.groups())
    assert passed > skipped > 0


@pytest.mark.thorough
def test_a_missing_fixture_is_named(elsewhere: Path) -> None:
    run = _run(elsewhere, "-m", "pytest", "-q", "-x", "-k", "TestNothing")
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "TestNothing has no fixture `new_storage`" in run.stdout


@pytest.mark.thorough
def test_without_pytest_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['pytest'] = None; from engine.testing import StorageSuite"
    run = _run(tmp_path, "-c", program)
    assert "engine.testing.StorageSuite needs pytest: pip install 'engine[testing]'" in run.stderr


@pytest.mark.thorough
def test_the_engine_itself_needs_no_pytest(tmp_path: Path) -> None:
    program = "import sys, engine; sys.exit('pytest' in sys.modules)"
    assert _run(tmp_path, "-c", program).returncode == 0
