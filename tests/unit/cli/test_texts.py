"""Texts are made safe and fit for terminals."""

from engine.cli.texts import column_widths, cut, table_lines, width_of


def test_texts_are_cut_by_the_columns_that_they_take() -> None:
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    assert cut("short", 5) == "short"
    assert cut("shorts", 5) == "shor…"
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"


def test_the_columns_of_a_narrow_terminal_leave_room_for_one_another() -> None:
    head, row = ("ID", "STATUS", "ERROR"), ("i" * 36, "needs_attention", "e" * 50)
    rows = (head, row)

    def shown(room: int | None) -> list[int]:
        return [*map(len, [*table_lines(rows, column_widths(rows, room), room)][1].split("  "))]

    assert shown(None) == [36, 15, 50]
    assert shown(100) == [36, 15, 45]
    assert shown(80) == [18, 15, 43]
    assert shown(40) == [18, 15]
