"""Nothing that is stored is obeyed when it is shown, and texts that look alike are alike."""

from __future__ import annotations

import sys
from unicodedata import category

import pytest

from engine.domain.visible_text import is_visible, visible


@pytest.mark.parametrize(
    "text", ["", "plain", "naïve 日本 한국", "e\u0301", "\U0001f600", "≠ ½ ⠿", "⚠\ufe0f 2 ❤\ufe0f"]
)
def test_a_text_that_is_seen_stays(text: str) -> None:
    assert is_visible(text)
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\x1b[31m\x00", r"a\tb\x1b[31m\x00"),
        ("\u202e\u2066\u200d\u2028", r"\u202e\u2066\u200d\u2028"),
        ("\udcff", r"\udcff"),
        ("a\u00a0b\u3000", r"a\xa0b\u3000"),  # spaces that are not the plain one
        ("pay\u00ad\u034f7", r"pay\xad\u034f7"),  # a soft hyphen, a joiner
        ("\u3164\u115f\u1160\uffa0", r"\u3164\u115f\u1160\uffa0"),  # Hangul fillers
        ("\u17b4\u17b5\u180b\u180f", r"\u17b4\u17b5\u180b\u180f"),
        ("a\ufe00\ufe0f\U000e0100\U000e01ef", r"a\ufe00\ufe0f\U000e0100\U000e01ef"),
        ("⚠\ufe0f\ufe0f⚠\ufe0e 1\ufe0f", r"⚠️\ufe0f⚠\ufe0e 1\ufe0f"),  # behind a symbol it is seen
        ("\U000e0001\U000e0041\U000e007f", r"\U000e0001\U000e0041\U000e007f"),  # tags
        ("\u2800\U0001d159\U00016fe4", r"\u2800\U0001d159\U00016fe4"),  # blanks
    ],
)
def test_a_character_that_is_not_seen_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert not is_visible(text)
    assert visible(text) == shown
    assert visible(f"日{text}") == f"日{shown}"


def test_lines_stay_where_they_may() -> None:
    assert visible("a\nb\r", kept="\n") == "a\nb\\r"


def test_all_controls_formats_and_ignorable_characters_are_escaped() -> None:
    fillers = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, 0x2800}
    selectors = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
    for code in range(sys.maxunicode + 1):
        is_of_a_sort = category(chr(code)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        if is_of_a_sort or code in fillers | selectors:
            assert not is_visible(chr(code)), hex(code)
