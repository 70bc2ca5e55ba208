"""The package: imported by those who want it alone."""

from pathlib import Path

import pytest

from tests.python import run_python


@pytest.mark.thorough
def test_the_engine_does_not_import_starlette(tmp_path: Path) -> None:
    done = run_python("import engine, sys; sys.exit('starlette' in sys.modules)", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.thorough
def test_without_starlette_it_says_what_to_install(tmp_path: Path) -> None:
    done = run_python("import sys; sys.modules['starlette'] = None; import engine.web", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: engine.web needs Starlette: pip install 'engine[web]'"
    )
