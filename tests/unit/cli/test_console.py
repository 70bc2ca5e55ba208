"""The console shows progress, only on terminals."""

from __future__ import annotations

import io

import pytest

from engine.cli.console import Console


class TerminalText(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TerminalText()
    monkeypatch.setattr("sys.stderr", stream)
    with Console().progress("checking", "jobs") as progress:
        progress(1_000, 2_000)
        monkeypatch.setattr("engine.cli.console._PROGRESS_SECONDS", 3_600)
        progress(1_001, 2_000)  # too soon to be shown
    text = "checking: 1,000 of 2,000 jobs"
    assert stream.getvalue() == f"\r{text}\r{' ' * len(text)}\r"


def test_progress_is_shown_on_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with Console().progress("checking", "jobs") as progress:
        progress(1_000, 2_000)
    assert stream.getvalue() == ""
