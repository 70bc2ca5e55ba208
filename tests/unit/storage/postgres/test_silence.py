"""Silence is measured by own looks alone."""

from collections.abc import Sequence

import pytest

from engine.storage.postgres.silence import Living, Silence

LEASE = 10.0
A, B = 1, 2


def engines(beats: dict[int, int], lease_seconds: float = LEASE) -> dict[int, Living]:
    return {engine_id: Living(number, lease_seconds) for engine_id, number in beats.items()}


def look_often(silence: Silence, start: float, end: float, beats: dict[int, int]) -> list[int]:
    """Look each second from one time to another; return who was silent at the last look."""
    silent: list[int] = []
    for second in range(int(start), int(end) + 1):
        silent = [*silence.look(second, second, engines(beats))]
    return silent


def test_who_does_not_beat_for_a_lease_is_silent_and_who_beats_is_not() -> None:
    silence = Silence(LEASE)
    assert look_often(silence, 0, 10, {A: 5, B: 0}) == []
    assert silence.look(11, 11, engines({A: 5, B: 1})) == [A]
    assert silence.look(12, 12, engines({A: 6, B: 1})) == []


def test_a_silence_ends_with_any_other_number_and_begins_anew_after_it() -> None:
    silence = Silence(LEASE)
    look_often(silence, 0, 9, {A: 5})
    assert look_often(silence, 10, 20, {A: 6}) == []
    assert silence.look(21, 21, engines({A: 6})) == [A]


def test_silences_begin_anew_after_a_break_of_more_than_half_a_lease() -> None:
    silence = Silence(LEASE)
    look_often(silence, 0, 10, {A: 5})
    assert silence.look(15, 15, engines({A: 5})) == [A]
    silence = Silence(LEASE)
    look_often(silence, 0, 10, {A: 5})
    assert look_often(silence, 16, 26, {A: 5}) == []
    assert silence.look(27, 27, engines({A: 5})) == [A]


def test_a_look_that_takes_more_than_half_a_lease_is_a_break() -> None:
    silence = Silence(LEASE)
    look_often(silence, 0, 10, {A: 5})
    assert silence.look(11, 16, engines({A: 5})) == []


def test_the_time_that_a_look_takes_is_no_silence() -> None:
    silence = Silence(LEASE)
    silence.look(0, 2, engines({A: 5}))
    assert look_often(silence, 3, 12, {A: 5}) == []
    assert silence.look(13, 13, engines({A: 5})) == [A]


def test_who_comes_back_under_the_same_number_has_a_whole_lease() -> None:
    silence = Silence(LEASE)
    look_often(silence, 0, 5, {A: 5})
    look_often(silence, 6, 9, {})
    assert look_often(silence, 10, 20, {A: 5}) == []


@pytest.mark.parametrize(("own", "other"), [(LEASE, 4.0), (4.0, LEASE)])
def test_the_longer_of_two_leases_counts(own: float, other: float) -> None:
    def look(time: float) -> Sequence[int]:
        return silence.look(time, time, engines({A: 5}, other))

    silence = Silence(own)
    assert [*map(look, (0, 5, 10))] == [[], [], []]  # breaks longer than half of the shorter one
    assert look(11) == [A]
    silence = Silence(own)
    assert [*map(look, (0, 5.1, 10, 15))] == [[], [], [], []]
    assert look(15.2) == [A]
