"""The documentation is true: its snippets run and print what it says, its tables are the code's.

The pages are README.md, CONTRIBUTING.md and docs/*.md. Each Python block runs as a program of its
own, in an empty folder, in a process that has imported the engine already. A text block after it is
its output; without one it prints nothing. A console block of `engine` commands runs in the folder
of the Python block before it; ids, times and sizes may differ. The console block of the main
example runs on a terminal, and is interrupted where it shows a Ctrl-C; the counts may differ.
`.ci/run` takes the two set-up commands from the README and runs them; a test here checks that it
finds them.
"""

import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

import engine
from engine import ORDER_LIFECYCLE, PAID_JOB_LIFECYCLE, OrderStatus
from engine.cli.exits import MEANINGS
from tests.examples.programs import COUNT_WORDS, Terminal
from tests.systems import needs_fork
from tests.tries import report, rounds

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https://)([^)#]*)(?:#([^)]*))?\)")
COUNT_WORDS_COMMAND = re.compile(
    r"^\$ python examples/count_words.py (.*)\n((?:[^$].*\n)*)", re.MULTILINE
)
ENGINE_COMMAND = re.compile(r"^\$ engine (.*)\n((?:[^$].*\n)*)", re.MULTILINE)

DATABASE = "postgresql://localhost/jobs"
"""The URL in snippets of a database that all engines share."""

Block = tuple[str, str]


def texts() -> Iterator[tuple[str, str]]:
    """Yield every page with its path."""
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


PAGES = dict(texts())
BLOCKS: dict[str, list[Block]] = {page: BLOCK.findall(text) for page, text in PAGES.items()}


def prose(page: str) -> str:
    """Return a page without its blocks, which have headings, links and errors of their own."""
    return BLOCK.sub("", PAGES[page])


def table(page: str, head: str) -> str:
    """Return the rows of the one table of a page that begins with this head."""
    [found] = re.findall(rf"^\| {head} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", PAGES[page], re.MULTILINE)
    return str(found)


def snippets() -> list[object]:
    """Return every Python block, with its output."""
    return [
        pytest.param(text, after if after_kind == "text" else "", id=f"{page}-{number}")
        for page, blocks in BLOCKS.items()
        for number, ((kind, text), (after_kind, after)) in enumerate(pairwise([*blocks, ("", "")]))
        if kind == "python"
    ]


def test_every_page_is_markdown_with_one_title_and_blocks_of_known_kinds() -> None:
    assert all(page.endswith(".md") for page in PAGES)
    for page, blocks in BLOCKS.items():
        kinds = [kind for kind, _ in blocks]
        assert set(kinds) <= {"python", "text", "sh", "sql", "mermaid", "console"}, page
        assert PAGES[page].count("```") == 2 * len(blocks), page
        assert len(re.findall(r"^# ", prose(page), re.MULTILINE)) == 1, page
        assert all(before == "python" for before, kind in pairwise(["", *kinds]) if kind == "text")
    assert len(snippets()) >= 20


@pytest.fixture(scope="module")
def warm() -> Iterator[subprocess.Popen[str]]:
    """Start a process that has imported the engine, and runs programs in forks of itself."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.snippets"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        yield process
        process.communicate()  # no more
    assert process.returncode == 0


@needs_fork
@pytest.mark.parametrize(("snippet", "output"), snippets())
def test_snippet(
    snippet: str,
    output: str,
    tmp_path: Path,
    warm: subprocess.Popen[str],
    request: pytest.FixtureRequest,
) -> None:
    if DATABASE in snippet:
        snippet = snippet.replace(DATABASE, request.getfixturevalue("postgres_url"))
    assert run(warm, snippet, tmp_path) == output


def run(warm: subprocess.Popen[str], program: str, folder: Path) -> str:
    """Run a Python program in a folder and return its output; it must succeed."""
    assert warm.stdin is not None
    assert warm.stdout is not None
    path = folder / "snippet.py"
    path.write_text(program, encoding="utf-8")
    print(path, file=warm.stdin, flush=True)
    code = warm.stdout.readline()
    output, errors = (folder.joinpath(name).read_text("utf-8") for name in ("output", "errors"))
    assert (code, errors) == ("0\n", "")
    return output


@pytest.mark.thorough
def test_snippets_have_the_types_that_they_say(tmp_path: Path) -> None:
    for page, blocks in BLOCKS.items():
        for number, (kind, text) in enumerate(blocks):
            if kind == "python":
                name = re.sub(r"\W", "_", f"{page} {number}")
                (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_console_shows_commands_that_are_run() -> None:
    for blocks in BLOCKS.values():
        for kind, text in blocks:
            if kind == "console":
                found = COUNT_WORDS_COMMAND.findall(text) or ENGINE_COMMAND.findall(text)
                assert len(found) == text.count("$ ") >= 1


@needs_fork
def test_the_consoles_show_what_the_commands_print(
    tmp_path: Path, warm: subprocess.Popen[str], postgres_url: str
) -> None:
    consoles = 0
    for page, blocks in BLOCKS.items():
        folder = tmp_path / page
        folder.mkdir(parents=True)
        snippet = ""
        for kind, text in blocks:
            snippet = text if kind == "python" else snippet
            if kind == "console" and (shown := ENGINE_COMMAND.findall(text)):
                consoles += 1
                run(warm, snippet, folder)
                for command, output in shown:
                    words = command.replace(DATABASE, postgres_url).split()
                    program = f"from engine.cli import main\nraise SystemExit(main({words}))"
                    printed = run(warm, program, folder).replace(postgres_url, DATABASE)
                    assert without_particulars(printed) == without_particulars(output)
    assert consoles >= 1


def without_particulars(text: str) -> str:
    """Return a text without the parts that differ each time."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z", "TIME", text)
    return re.sub(r"[\d,]+ bytes", "SIZE bytes", text)


@pytest.mark.thorough
def test_the_main_example_is_stopped_and_goes_on_as_it_is_shown(tmp_path: Path) -> None:
    [shown] = [
        commands
        for blocks in BLOCKS.values()
        for kind, text in blocks
        if kind == "console" and (commands := COUNT_WORDS_COMMAND.findall(text))
    ]
    assert [output.startswith("^C\n") for _, output in shown] == [True, False]
    wanted = [without_counts(output.removeprefix("^C\n")) for _, output in shown]
    for number in rounds():  # the interrupt has a second, in which a busy machine may not send it
        folder = tmp_path / f"{number}"
        folder.mkdir()
        printed = [
            output_of(folder, command.split(), is_stopped=output.startswith("^C\n"))
            for command, output in shown
        ]
        report("".join(printed))
        if printed == wanted:
            break


def output_of(folder: Path, arguments: list[str], *, is_stopped: bool) -> str:
    """Return the table of the main example; interrupt it after the first file, or not."""
    for name in arguments[4:]:
        shutil.copy2(ROOT / name, folder)  # with its time: it has not changed since
    with Terminal([*COUNT_WORDS, *arguments], folder) as terminal:
        if is_stopped:
            terminal.read_until("1 completed")
            terminal.process.send_signal(signal.SIGINT)
        _, errors = terminal.finish()
    _, head, table = terminal.output.replace("\r\n", "\n").partition("file  ")
    return without_counts(head + table + errors)


def without_counts(text: str) -> str:
    return re.sub(r"completed +\d.*", "completed", text)


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    return {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES)
def test_files_and_sections_that_are_linked_exist(page: str) -> None:
    folder = (ROOT / page).parent
    for file, section in LINK.findall(prose(page)):
        target = (folder / file).resolve() if file else ROOT / page
        assert target.exists(), file
        if section:
            assert section in anchors(str(target.relative_to(ROOT))), (file, section)


def test_every_page_is_linked_from_the_index() -> None:
    linked = {file for file, _ in LINK.findall(PAGES["docs/README.md"])}
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert linked == pages


def test_the_diagrams_are_those_of_the_ready_made_lifecycles() -> None:
    diagrams = [text for blocks in BLOCKS.values() for kind, text in blocks if kind == "mermaid"]
    assert diagrams == [each.mermaid() for each in (PAID_JOB_LIFECYCLE, ORDER_LIFECYCLE)]


def test_the_table_of_orders_is_their_lifecycle() -> None:
    def shown(*statuses: OrderStatus) -> str:
        return ", ".join(f"`{status}`" for status in OrderStatus if status in statuses)

    rows = [
        f"| {shown(at)} | {shown(*to)} | {shown(ORDER_LIFECYCLE.expires_to[at])} "
        f"| {shown(ORDER_LIFECYCLE.cancels_to[at])} |"
        for at, to in ORDER_LIFECYCLE.moves.items()
        if to
    ]
    assert table("docs/lifecycles.md", "from").splitlines() == rows


def test_every_error_is_in_the_table_and_every_row_is_an_error() -> None:
    named = set(re.findall(r"`(\w+Error)`", table("docs/errors.md", "error")))
    groups = {"EngineError", "EngineUnavailableError", "OutcomeUnknownError"}
    assert named == {name for name in engine.__all__ if name.endswith("Error")} - groups


@pytest.mark.parametrize("page", PAGES)
def test_every_error_that_is_named_is_one(page: str) -> None:
    # Of engine.testing, engine.webhooks and Python.
    from_elsewhere = {"StandstillError", "InvalidWebhookError", "RuntimeError"}
    named = {*re.findall(r"\b\w+Error\b", prose(page))}
    assert named <= {*engine.__all__} | from_elsewhere


def test_unknown_outcomes_are_marked_as_such() -> None:
    rows = table("docs/errors.md", "error")
    for name in re.findall(r"^\| `(\w+Error)` \|.*\*\*unknown\*\* \|$", rows, re.MULTILINE):
        assert issubclass(getattr(engine, name), engine.OutcomeUnknownError)
    for name in re.findall(r"^\| `(\w+Error)` \|.*\| no \|$", rows, re.MULTILINE):
        assert not issubclass(getattr(engine, name), engine.OutcomeUnknownError)


def test_every_call_of_the_engine_is_in_the_table() -> None:
    named = set(re.findall(r"`(\w+)[(`]", table("docs/calls.md", "call")))
    assert named == {name for name in vars(engine.JobEngine) if not name.startswith("_")}


def test_every_call_of_a_storage_is_in_the_table() -> None:
    named = re.findall(r"^\| `(\w+)` \|", table("docs/writing-a-storage.md", "call"), re.MULTILINE)
    assert named == [name for name in vars(engine.Storage) if not name.startswith("_")]


def test_every_exit_code_is_in_the_table() -> None:
    codes = re.findall(r"^\| (\d+) \|", table("docs/one-file.md", "exit code"), re.MULTILINE)
    assert [int(code) for code in codes] == [*MEANINGS]


@pytest.mark.parametrize(("example", "page"), [("shop", "service"), ("agent", "agent")])
def test_every_request_of_an_example_is_in_the_table(
    example: str, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYMENT_SECRET", "secret")
    monkeypatch.syspath_prepend(ROOT / "examples")
    paths = import_module(example).app.openapi()["paths"]
    requests = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    rows = table(f"docs/{page}.md", "request")
    named = re.findall(r"^\| `(\w+) (/\S*)` \|", rows, re.MULTILINE)
    assert sorted(named) == sorted(requests)


def test_the_commands_of_the_readme_are_those_that_the_checks_run() -> None:
    commands = [text for kind, text in BLOCKS["README.md"] if kind == "sh"]
    assert len(commands) == 2
    for number, command in enumerate(commands, start=1):
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
        assert f"\n{command}\n" in PAGES["CONTRIBUTING.md"]


def test_the_workflow_checks_every_python_that_the_package_names() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert re.findall(r'"(3\.\d+)"', workflow) == named
    assert project["requires-python"] == f">={named[0]}"


def test_the_reliability_table_names_tests_that_are_there() -> None:
    rows = table("docs/guarantees.md", "#").splitlines()
    named = [re.findall(r"`(\w+/(?:\w+/)?test_\w+)`", row.rsplit("|", 2)[1]) for row in rows]
    assert len(rows) >= 20
    assert all(named)
    for modules in named:
        assert all((ROOT / "tests" / f"{module}.py").exists() for module in modules)


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(.*?)\]", changelog, re.MULTILINE)[0]
    assert newest == engine.__version__
