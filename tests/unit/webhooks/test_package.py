"""The package: imported by those who want it alone."""

from pathlib import Path

import pytest

from tests.python import run_python

HTTPX, STANDARD = "httpx", "standardwebhooks"


@pytest.mark.thorough
def test_the_engine_imports_none_of_its_needs(tmp_path: Path) -> None:
    program = f"import engine, sys; sys.exit(bool({{{HTTPX!r}, {STANDARD!r}}} & {{*sys.modules}}))"
    done = run_python(program, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.thorough
@pytest.mark.parametrize("name", [HTTPX, STANDARD])
def test_without_its_needs_it_says_what_to_install(name: str, tmp_path: Path) -> None:
    done = run_python(f"import sys; sys.modules[{name!r}] = None; import engine.webhooks", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: engine.webhooks needs httpx and standardwebhooks: "
        "pip install 'engine[webhooks]'"
    )
