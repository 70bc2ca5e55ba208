"""Row 12, and the ends of processes: forks, exits and interrupts, in programs of their own.

Every program runs with warnings as errors and the debugging allocator, and must leave its standard
error empty. (The development mode would also make asyncio warn about a slow machine.) After a fork
the child gets a named error or has a working engine, and the parent keeps working. An unclosed
engine neither warns nor delays the exit. An interrupted caller can continue. An exception that a
storage or a clock raises on the one serving thread stops only its own engine.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import engine
from tests.interrupts import interrupt
from tests.systems import needs_fork
from tests.tries import thorough, tries

ROOTS = [str(Path(str(engine.__file__)).parents[1]), str(Path(__file__).parents[2])]
SECONDS = 60
# From Python 3.12 on, a fork of a process with threads warns; these tests fork on purpose.
OPTIONS = ["-X", "faulthandler", "-W", "error", "-W", "ignore:This process:DeprecationWarning"]


def _start(program: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, *OPTIONS, "-m", f"tests.reliability.programs.{program}"]
    return subprocess.Popen(
        [*command, *arguments],
        env={**os.environ, "PYTHONMALLOC": "debug", "PYTHONPATH": os.pathsep.join(ROOTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(program: str, *arguments: str) -> tuple[str, str, int]:
    """Run a program; return its output, its errors, and its exit code."""
    with _start(program, *arguments) as process:
        try:
            output, complaints = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return output, complaints, process.returncode


@needs_fork
@pytest.mark.parametrize("end", ["exit", *thorough("_exit")])
def test_a_forked_child_gets_a_named_error_or_a_working_engine(end: str) -> None:
    times = tries(100)  # two hundred with both ends
    assert _run("fork", str(times), end) == (f"{times} forks\n", "", 0)


@pytest.mark.thorough
@needs_fork
def test_a_process_that_forks_in_its_loop_goes_on() -> None:
    assert _run("fork_in_loop") == ("1 fork\n", "", 0)


@pytest.mark.thorough
@needs_fork
def test_a_pool_of_forked_processes_works() -> None:
    assert _run("processes") == ("6 pieces of work\n", "", 0)


@pytest.mark.parametrize(
    "how",
    [
        "file",
        *thorough("used", "unused", "generator", "repositories", "cycle", "waiting", "threads"),
    ],
)
def test_an_engine_that_nobody_closes_neither_warns_nor_holds_up_the_exit(how: str) -> None:
    assert _run("unclosed", how) == ("the end\n", "", 0)


LATE = ["calls", "closes", "backs_up", "opens", "leaves_worker"]


@pytest.mark.parametrize("how", ["late_stack", *thorough(*(f"finalizer_{each}" for each in LATE))])
def test_a_finalizer_after_the_end_gets_a_named_error(how: str) -> None:
    refused = "the end\nrefused: the interpreter exits\n"
    assert _run("unclosed", how) == (refused, "", 0)


@pytest.mark.thorough
def test_an_engine_that_nobody_closes_leaves_the_exit_code_alone() -> None:
    assert _run("unclosed", "error") == ("", "", 3)


def test_a_caller_that_is_interrupted_can_go_on() -> None:
    with _start("interrupted") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        interrupt(process)
        output, complaints = process.communicate(timeout=SECONDS)
    assert (output, complaints, process.returncode) == ("interrupted\n2\n", "", 0)


@pytest.mark.parametrize("where", ["commit", *thorough("start", "count", "aclose", "clock")])
def test_what_is_raised_on_the_serving_thread_stops_its_own_engine_alone(where: str) -> None:
    kinds = ["PlantedError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError"]
    assert _run("interrupted_loop", where) == ("".join(f"{kind}\n" for kind in kinds), "", 0)
