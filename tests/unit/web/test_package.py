"""The package: imported by those who want it alone."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.thorough
def test_the_engine_does_not_import_starlette(tmp_path: Path) -> None:
    done = run("import engine, sys; sys.exit('starlette' in sys.modules)", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.thorough
def test_without_starlette_it_says_what_to_install(tmp_path: Path) -> None:
    done = run("import sys; sys.modules['starlette'] = None; import engine.web", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: engine.web needs Starlette: pip install 'engine[web]'"
    )
