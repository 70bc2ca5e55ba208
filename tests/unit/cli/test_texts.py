"""Texts are made safe and fit for terminals."""

from engine.cli.texts import cut, printable, width_of


def test_nothing_that_a_terminal_obeys_is_shown() -> None:
    assert printable("naïve 日本") == "naïve 日本"
    assert printable("a\tb\x1b[31m\u202e\udcff") == "a\\tb\\x1b[31m\\u202e\\udcff"


def test_texts_are_cut_by_the_columns_that_they_take() -> None:
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    assert cut("short", 5) == "short"
    assert cut("shorts", 5) == "shor…"
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"
