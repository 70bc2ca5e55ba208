"""The README is true: its snippets run and print what it says, its diagram and errors are real.

What CONTRIBUTING says of tests and commands is checked too.

A Python block is run as a program of its own, in an empty folder; a text block that follows it is
what it must print. A console block of `python -m engine` is run in the same folder after it; ids,
times and sizes may differ from what it shows. That of the main example is run on a terminal, and
interrupted where it shows a Ctrl-C; the counts may differ.
The commands are run by `.ci/run`, which takes them from the README; here it is checked that it
finds them.
"""

import argparse
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import engine
from tests.examples.programs import COUNT_WORDS, Terminal

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Block = tuple[str, str]

BLOCKS: list[Block] = BLOCK.findall(README)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def snippets() -> list[tuple[str, str]]:
    """Every Python block, with the text block after it."""
    pairs = zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True)
    return [(text, after) for (kind, text), (_, after) in pairs if kind == "python"]


def test_every_snippet_says_what_it_prints() -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds.count("python") == kinds.count("text") >= 8
    assert all(
        after == "text"
        for kind, after in zip(kinds, [*kinds[1:], ""], strict=True)
        if kind == "python"
    )
    assert set(kinds) == {"python", "text", "sh", "mermaid", "console"}


def run(arguments: list[str], folder: Path) -> str:
    """Run Python; return what it prints when all is well."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def run_snippet(snippet: str, folder: Path) -> str:
    (folder / "snippet.py").write_text(snippet, encoding="utf-8")
    return run(["snippet.py"], folder)


@pytest.mark.parametrize(("snippet", "output"), snippets())
def test_snippet(snippet: str, output: str, tmp_path: Path) -> None:
    assert run_snippet(snippet, tmp_path) == output


def test_the_console_shows_what_the_commands_print(tmp_path: Path) -> None:
    _, place = [place for place, (kind, _) in enumerate(BLOCKS) if kind == "console"]
    run_snippet([text for kind, text in BLOCKS[:place] if kind == "python"][-1], tmp_path)
    shown = re.findall(r"^\$ python (.*)\n((?:[^$].*\n)*)", BLOCKS[place][1], re.MULTILINE)
    assert len(shown) == BLOCKS[place][1].count("$ ") >= 3
    for command, output in shown:
        assert without_particulars(run(command.split(), tmp_path)) == without_particulars(output)


def without_particulars(text: str) -> str:
    """Return a text without what is different each time."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z", "TIME", text)
    return re.sub(r"[\d,]+ bytes", "SIZE bytes", text)


def test_the_main_example_is_stopped_and_goes_on_as_the_readme_shows(tmp_path: Path) -> None:
    block, _ = blocks("console")
    shown = re.findall(
        r"^\$ python examples/count_words.py (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE
    )
    assert [output.startswith("^C\n") for _, output in shown] == [True, False]
    for command, output in shown:
        for name in command.split()[4:]:
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
        with Terminal([*COUNT_WORDS, *command.split()], tmp_path) as terminal:
            if output.startswith("^C\n"):
                terminal.read_until("1 completed")
                terminal.process.send_signal(signal.SIGINT)
            _, errors = terminal.finish()
        _, head, table = terminal.output.replace("\r\n", "\n").partition("file  ")
        printed = head + table + errors
        assert without_counts(printed) == without_counts(output.removeprefix("^C\n"))


def without_counts(text: str) -> str:
    return re.sub(r"completed +\d.*", "completed", text)


def test_snippets_have_the_types_that_the_readme_tells_of(tmp_path: Path) -> None:
    for number, snippet in enumerate(blocks("python")):
        (tmp_path / f"snippet{number}.py").write_text(snippet, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_diagram_is_the_default_lifecycle() -> None:
    assert blocks("mermaid") == [engine.PAID_JOB_LIFECYCLE.mermaid()]


def test_every_error_is_in_the_table_and_every_row_is_an_error() -> None:
    [table] = re.findall(r"^\| error \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"`(\w+Error)`", table))
    groups = {"EngineError", "EngineUnavailableError", "OutcomeUnknownError"}
    assert told == {name for name in engine.__all__ if name.endswith("Error")} - groups
    prose = BLOCK.sub("", README)  # snippets have errors of their own
    assert {*re.findall(r"\b\w+Error\b", prose)} <= {*engine.__all__}


def test_unknown_outcomes_are_marked_as_such() -> None:
    for name in re.findall(r"^\| `(\w+Error)` \|.*\*\*unknown\*\* \|$", README, re.MULTILINE):
        assert issubclass(getattr(engine, name), engine.OutcomeUnknownError)
    for name in re.findall(r"^\| `(\w+Error)` \|.*\| no \|$", README, re.MULTILINE):
        assert not issubclass(getattr(engine, name), engine.OutcomeUnknownError)


def test_every_call_of_the_engine_is_in_the_table() -> None:
    [table] = re.findall(r"^\| call \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"`(\w+)[(`]", table))
    assert told == {name for name in vars(engine.JobEngine) if not name.startswith("_")}


def test_every_request_of_the_service_is_in_the_table() -> None:
    spec = spec_from_file_location("service", ROOT / "examples" / "service.py")
    assert spec is not None
    assert spec.loader is not None
    service = module_from_spec(spec)
    sys.modules["service"] = service  # where its annotations are looked up
    spec.loader.exec_module(service)
    options = argparse.Namespace(pause=0, jobs="", max_waiting=1, pay_within=1)
    routes = service.application(options, b"secret").routes
    told = re.findall(r"^\| `(\w+) (/\S*)` \|", README, re.MULTILINE)
    assert told == [(next(iter(route.methods - {"HEAD"})), route.path) for route in routes]


def test_files_and_sections_that_are_linked_exist() -> None:
    sections = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\((?!https://)([^)]+)\)", README):
        assert target.removeprefix("#") in sections or (ROOT / target).exists(), target


def test_the_commands_of_the_readme_are_those_that_the_checks_run() -> None:
    assert len(blocks("sh")) == 2
    for number, command in enumerate(blocks("sh"), start=1):
        done = subprocess.run(
            [str(ROOT / ".ci" / "run"), "--command", str(number)],
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, command)


def test_the_checks_that_contributors_run_are_those_of_the_script() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("ruff format --check .", "ruff check .", "mypy", "lint-imports"):
        assert f" {command}\n" in script
        assert f"\n{command}\n" in CONTRIBUTING


def test_the_reliability_table_names_tests_that_are_there() -> None:
    [table] = re.findall(r"^\| row \|.*?\n\n", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    rows = table.strip().splitlines()[2:]
    named = [re.findall(r"`([\w/]+/test_\w+)`", row.rsplit("|", 2)[1]) for row in rows]
    assert len(rows) >= 20
    assert all(named)
    for modules in named:
        assert all((ROOT / "tests" / f"{module}.py").exists() for module in modules)


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(.*?)\]", changelog, re.MULTILINE)[0]
    assert newest == version("engine")
