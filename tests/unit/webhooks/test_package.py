"""The package: imported by those who want it alone."""

import subprocess
import sys
from pathlib import Path

import pytest

HTTPX, STANDARD = "httpx", "standardwebhooks"


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
def test_the_engine_imports_none_of_its_needs(tmp_path: Path) -> None:
    program = f"import engine, sys; sys.exit(bool({{{HTTPX!r}, {STANDARD!r}}} & {{*sys.modules}}))"
    done = run(program, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.thorough
@pytest.mark.parametrize("name", [HTTPX, STANDARD])
def test_without_its_needs_it_says_what_to_install(name: str, tmp_path: Path) -> None:
    done = run(f"import sys; sys.modules[{name!r}] = None; import engine.webhooks", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: engine.webhooks needs httpx and standardwebhooks: "
        "pip install 'engine[webhooks]'"
    )
