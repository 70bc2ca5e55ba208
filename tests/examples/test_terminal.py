"""`count_words.py` on a terminal: one live line, then the table; an interrupt ends it cleanly."""

import re
import signal
from pathlib import Path

import pytest

from tests.examples.programs import COUNT_WORDS, INTERRUPTED, Terminal, table


@pytest.mark.thorough
def test_a_terminal_gets_one_live_line_and_then_the_table(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words " * 2_000_000)
    with Terminal([*COUNT_WORDS, "text", "missing"], tmp_path) as terminal:
        assert terminal.finish() == (1, "")
    live, _, shown = terminal.output.partition("file ")
    updates = [update.strip() for update in live.split("\r") if update.strip()]
    assert "\n" not in live
    assert any("1 failed, 1 running of 2; " in update for update in updates)
    assert all(update.endswith("MB read") and len(update) < 80 for update in updates)
    assert live.endswith("\r")
    assert live.split("\r")[-2].strip() == ""  # the live line is wiped
    assert table("file " + shown) == [
        ["text", "completed", "0", "2000000", "words", "2000000"],
        ["missing", "failed", "No", "such", "file", "or", "directory"],
    ]


@pytest.mark.thorough
def test_rows_are_cut_to_the_terminals_width_but_for_names(tmp_path: Path) -> None:
    long_name = "n" * 100
    words = "internationalization " * 9 + "underestimated " * 8 + "cartographers " * 7
    (tmp_path / "text").write_text(words)
    with Terminal([*COUNT_WORDS, "text"], tmp_path) as terminal:
        terminal.finish()
    assert re.search(r" internationalization 9, underestimated 8, car\w+\r\n", terminal.output)
    assert "cartographers" not in terminal.output
    assert max(len(line) for line in terminal.output.splitlines()) <= 80
    with Terminal([*COUNT_WORDS, long_name], tmp_path) as terminal:
        terminal.finish()
    assert f"{long_name}  failed" in terminal.output


def test_an_interrupt_ends_it_within_a_file_and_says_how_to_go_on(tmp_path: Path) -> None:
    for name in ("long", "next"):
        (tmp_path / name).write_text(f"{name}\n")
    command = [*COUNT_WORDS, "--at-once", "1", "--slow", "3600", "missing", "long", "next"]
    with Terminal(command, tmp_path) as terminal:
        terminal.read_until("1 failed, 2 running of 3")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.finish() == (130, INTERRUPTED)
    assert table("file " + terminal.output.partition("file ")[2]) == [
        ["missing", "failed", "No", "such", "file", "or", "directory"],
        ["long", "running"],
        ["next", "running"],
    ]
