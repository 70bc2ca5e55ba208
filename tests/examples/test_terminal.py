"""`count_words.py` on a terminal: one live line, then the table; an interrupt ends it cleanly."""

import re
import signal
from pathlib import Path

from tests.examples.programs import COUNT_WORDS, Terminal, table


def test_a_terminal_gets_one_live_line_and_then_the_table(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words " * 2_000_000)
    with Terminal([*COUNT_WORDS, "text", "missing"], tmp_path) as terminal:
        assert terminal.finish() == (1, "")
    live, _, shown = terminal.output.partition("file ")
    updates = [update.strip() for update in live.split("\r") if update.strip()]
    assert "\n" not in live
    assert any("1 running, 1 failed of 2; " in update for update in updates)
    assert all(update.endswith("MB read") and len(update) < 80 for update in updates)
    assert live.endswith("\r")
    assert live.split("\r")[-2].strip() == ""  # the live line is wiped
    assert table("file " + shown) == [
        ["text", "completed", "0", "2000000", "words", "2000000"],
        ["missing", "failed", "No", "such", "file", "or", "directory"],
    ]


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


def test_an_interrupt_fails_what_has_not_ended(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("words " * 10_000_000)
    (tmp_path / "short").write_text("words\n")
    command = [*COUNT_WORDS, "--at-once", "1", "missing", "short", "long", "short"]
    with Terminal(command, tmp_path) as terminal:
        terminal.read_until("1 running, 1 completed, 1 failed of 4")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.finish() == (130, "interrupted\n")
    rows = table("file " + terminal.output.partition("file ")[2])
    assert rows == [
        ["missing", "failed", "No", "such", "file", "or", "directory"],
        ["short", "completed", "1", "1", "words", "1"],
        ["long", "failed", "interrupted"],
        ["short", "not", "ordered"],
    ]


def test_an_interrupt_does_not_wait_for_the_end_of_a_file(tmp_path: Path) -> None:
    with (tmp_path / "endless").open("wb") as file:
        file.truncate(1 << 40)  # hours of zeros, and no space on the disk
    with Terminal([*COUNT_WORDS, "endless"], tmp_path) as terminal:
        terminal.read_until("none of 1; ")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.finish() == (130, "interrupted\n")
    assert table("file " + terminal.output.partition("file ")[2]) == [["endless", "not", "ordered"]]
