"""Times and durations as texts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from engine.domain.time_text import duration_text, parsed_duration


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(hours=2), "PT2H"),
        (timedelta(days=500, seconds=90, microseconds=1), "P1Y135DT1M30.000001S"),
        (timedelta(days=3_652_059), "P10005Y234D"),
        (timedelta(0), "PT0S"),
    ],
)
def test_a_duration_comes_back_from_its_text(duration: timedelta, text: str) -> None:
    assert (duration_text(duration), parsed_duration(text)) == (text, duration)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "90", "0:01:30", "1 day", "-PT5S", "P1D ", "P9999999Y", "PT1e3S"]
)
def test_any_other_text_has_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parsed_duration(text)
