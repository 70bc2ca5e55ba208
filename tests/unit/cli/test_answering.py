"""Answers to prompts: by arguments, and in a dialogue on a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import pytest
from pydantic import BaseModel, Field

from engine import AGENT_JOB_LIFECYCLE, JobEngine
from engine.owner.commands.ask import AskForInput
from engine.owner.prompts import Schema, prompt_text
from engine.storage.places import place_at
from tests.examples.programs import Terminal
from tests.interrupts import interrupt
from tests.tries import thorough
from tests.unit.claiming import claimed_one
from tests.unit.cli.programs import PROGRAM, Run


class Print(BaseModel):
    paper: Literal["A4", "A5"]
    copies: Annotated[int, Field(ge=1, title="How many")]
    note: str | None = None


@pytest.fixture
def place(path: Path) -> str:
    return str(path)


def asking(place: str, schema: Schema, question: str = "How?") -> str:
    """Let a new job ask, and return its id."""

    async def ask() -> str:
        async with JobEngine(place, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
            await engine.create("input", start=True)
            job_id, token = await claimed_one(engine)
            prompt = prompt_text("p-1", schema, "print", question)
            await engine.core.ask(AskForInput(job_id, token, prompt, None))
            return job_id

    return anyio.run(ask)


def _answers(place: str, job_id: str) -> Any:  # noqa: ANN401 - any JSON value
    with place_at(place).reading() as view:
        job = view.job(job_id)
    assert job is not None
    kept = job.execution.answers
    return None if kept is None else json.loads(kept)["print"]


@pytest.mark.parametrize("kind", ["file", *thorough("database")])
def test_an_answer_is_given_in_parts_or_as_a_whole(
    kind: str, path: Path, request: pytest.FixtureRequest, here: Run
) -> None:
    place = str(path if kind == "file" else request.getfixturevalue("postgres_url"))
    job_id = asking(place, Print)
    code, lines, notes = here("answer", place, job_id, "paper=A4", "copies=2", "--reason", "asked")
    assert (code, lines, notes) == (0, [f"answered: {job_id} running"], [])
    assert _answers(place, job_id) == {"paper": "A4", "copies": 2}
    job_id = asking(place, bool)
    code, lines, _ = here("answer", place, job_id, "--value", "true", "--json")
    assert (code, json.loads(lines[0])["job"]["status"]) == (0, "running")
    assert _answers(place, job_id) is True


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["copies=0", "paper=A4"], "engine: copies must be a whole number, 1 or more, not '0'"),
        (["paper=A4"], "engine: value doesn't fit what is asked for: paper: A4 or A5; copies: "),
        (["size=A4"], "engine: size is not asked for: paper, copies, note"),
        (["--value", "{"], "engine: value must be JSON, not '{'"),
        (["--value", "[]"], "engine: value doesn't fit what is asked for: "),
        (["--value", "[" * 100_000], "engine: value must be JSON, not "),
        (["--value", "{}", "paper=A4"], "engine: --value is the whole answer"),
        (["paper=A4", "copies=1", "paper=A5"], "engine: paper is given twice: give it once"),
        ([], "How?"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(
    place: str, here: Run, words: list[str], note: str
) -> None:
    job_id = asking(place, Print)
    code, lines, notes = here("answer", place, job_id, *words)
    assert (code, lines) == (2, [])
    assert notes[0].startswith(note)
    assert _answers(place, job_id) is None
    if not words:
        assert notes[1].endswith(f"engine answer {place} {job_id} --value JSON")


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ('{"a": NaN}', "engine: value has nan, at value.a: "),
        ("[" * 101 + "]" * 101, "engine: value has more than 100 levels"),
        ('"\\ud800"', "engine: value has a lone surrogate: "),
    ],
)
def test_a_value_that_no_engine_keeps_is_wrong_usage(
    place: str, here: Run, value: str, note: str
) -> None:
    job_id = asking(place, {})
    for more in ((), ("--dry-run",), ("--json",)):
        code, lines, notes = here("answer", place, job_id, "--value", value, *more)
        assert (code, lines) == (2, [])
        assert notes[0].startswith(note)
    assert _answers(place, job_id) is None


def test_a_dry_run_shows_the_answer(place: str, here: Run) -> None:
    job_id = asking(place, Print)
    code, [line], _ = here("answer", place, job_id, "paper=A4", "copies=2", "--dry-run")
    assert (code, json.loads(line)["value"]) == (0, {"paper": "A4", "copies": 2})
    assert _answers(place, job_id) is None


def test_an_answer_needs_a_prompt(place: str, here: Run) -> None:
    job_id = asking(place, bool)
    here("answer", place, job_id, "--value", "true")
    code, lines, notes = here("answer", place, job_id, "--value", "true")
    assert (code, lines) == (5, [])
    assert notes[0] == f"engine: job '{job_id}' is 'running', and asks nothing"
    assert notes[-1].split()[:3] == ["or:", "engine", "show"]


def test_a_terminal_asks_field_by_field_until_each_fits(place: str, path: Path) -> None:
    job_id = asking(place, Print, "How shall we\nprint \x1b[31mthis?")
    command = [*PROGRAM, "answer", place, job_id]
    with Terminal(command, path.parent, asks=True) as terminal:
        terminal.read_until("Paper (A4 or A5): ")
        assert "print \\x1b[31mthis?\r\n" in terminal.output
        terminal.type("A3\n")
        terminal.read_until("Paper (A4 or A5): ")
        assert "paper must be A4 or A5, not 'A3'" in terminal.output
        terminal.type("A5\n")
        terminal.read_until("How many (a whole number, 1 or more): ")
        terminal.type("3\n")
        terminal.read_until("(a text; empty for none): ")
        terminal.type("\n")
        code, _ = terminal.finish()
    assert (code, f"answered: {job_id} running" in terminal.output) == (0, True)
    assert _answers(place, job_id) == {"paper": "A5", "copies": 3}


@pytest.mark.thorough
def test_a_terminal_asks_for_json_where_there_are_no_fields(place: str, path: Path) -> None:
    job_id = asking(place, list[int])
    with Terminal([*PROGRAM, "answer", place, job_id], path.parent, asks=True) as terminal:
        terminal.read_until("JSON: ")
        terminal.type("[1,\n")
        terminal.read_until("JSON: ")
        assert "value must be JSON, not '[1,'" in terminal.output
        terminal.type('["x"]\n')
        terminal.read_until("JSON: ")
        assert "value doesn't fit what is asked for" in terminal.output
        terminal.type("[1, 2]\n")
        code, _ = terminal.finish()
    assert (code, _answers(place, job_id)) == (0, [1, 2])


@pytest.mark.thorough
def test_a_dialogue_that_is_broken_off_answers_nothing(place: str, path: Path) -> None:
    job_id = asking(place, Print)
    for is_interrupted, wanted in ((False, 5), (True, 130)):
        with Terminal([*PROGRAM, "answer", place, job_id], path.parent, asks=True) as terminal:
            terminal.read_until("Paper (A4 or A5): ")
            if is_interrupted:
                interrupt(terminal.process)
            else:
                terminal.type("\x04")
            code, _ = terminal.finish()
        assert (code, _answers(place, job_id)) == (wanted, None)
