"""The package: imported by those who want it alone."""

from pathlib import Path

import pytest

from tests.python import run_python


@pytest.mark.thorough
def test_without_jinja2_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['jinja2'] = None; import engine.web, engine.web.dashboard"
    done = run_python(program, tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: engine.web.dashboard needs jinja2: pip install 'engine[web]'"
    )
