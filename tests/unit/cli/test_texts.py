"""Texts are made safe and fit for terminals."""

from engine.cli.texts import cut, width_of


def test_texts_are_cut_by_the_columns_that_they_take() -> None:
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    assert cut("short", 5) == "short"
    assert cut("shorts", 5) == "shor…"
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"
