"""Epochs: a cursor names one place in one history."""

import pytest

from engine.domain.epochs import Cursor, Epoch, Epochs, new_epoch, parsed_cursor
from engine.domain.exceptions import InvalidValueError


def test_a_cursor_is_read_as_it_was_written() -> None:
    for sequence in (1, 10, 2**63 - 1):
        cursor = Cursor(sequence, new_epoch(1).name)
        assert parsed_cursor(str(cursor)) == cursor
    assert str(Cursor(7)) == "7"
    assert parsed_cursor("7") == Cursor(7)


LONG = ["x" * 999, "0badcafe-" + "7" * 20, "0badcafe-7" + " " * 99]
NUMBERS = ["", "0", "07", "-7", "0badcafe", "0badcafe-", "0badcafe-0", "0badcafe-07", "0badcafe--7"]
NAMES = ["0BADCAFE-7", "0badcaf-7", "0badcafe-7 ", " 0badcafe-7", "0badcafe-\u0667", "0badcafe-7\n"]


@pytest.mark.parametrize("text", [*LONG, *NUMBERS, *NAMES])
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="must be a sequence number or a transition's cur"):
        parsed_cursor(text)


def test_each_transition_belongs_to_the_newest_epoch_that_has_begun() -> None:
    epochs = Epochs()
    epochs.set([Epoch("one", 1), Epoch("two", 5), Epoch("empty", 8), Epoch("three", 8)])
    names = [epochs.name_at(sequence) for sequence in (1, 4, 5, 7, 8, 99)]
    assert names == ["one", "one", "two", "two", "three", "three"]
    assert epochs.has(Cursor(4, "one"))
    assert epochs.has(Cursor(5))
    for other in (Cursor(5, "one"), Cursor(4, "two"), Cursor(8, "empty"), Cursor(4, "other")):
        assert not epochs.has(other)
