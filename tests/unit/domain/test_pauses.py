"""Pauses: of kinds and gates as they are kept, and as they change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from json import loads

import pytest

from engine import InvalidValueError, Pause, StorageDamagedError
from engine.domain.pauses import MAX_PAUSES, NO_PAUSES, Pauses

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def paused(kind: str | None = None, **more: str) -> Pause:
    return Pause(kind=kind, at=NOON, **more)


def test_pauses_come_back_in_the_order_of_their_names() -> None:
    gates = paused(gate="Ä"), paused(gate="a", by="ann")
    pauses = Pauses([*gates, paused("b", by="ann", reason="ß\n"), paused("a")])
    assert [(each.kind, each.gate) for each in pauses] == [
        *(("a", None), ("b", None)),
        *((None, "a"), (None, "Ä")),
    ]
    assert [*Pauses.read(pauses.text)] == [*pauses]
    assert loads(pauses.text)[0] == {"kind": "a", "at": "2026-11-29T12:00:00Z"}
    assert loads(pauses.text)[3] == {"gate": "Ä", "at": "2026-11-29T12:00:00Z"}
    assert (Pauses().text, [*Pauses.read(NO_PAUSES)]) == (NO_PAUSES, [])


def test_the_first_pause_of_a_kind_stays() -> None:
    once = Pauses().with_this(paused("a", by="ann"))
    assert once.with_this(paused("a", by="bob")) is once
    assert once.without("b") is once
    assert [*once.without("a")] == []


def test_a_kind_and_a_gate_of_one_name_are_two() -> None:
    both = Pauses().with_this(paused("a")).with_this(paused(gate="a", by="ann"))
    assert (both.of("a"), both.of(gate="a")) == (paused("a"), paused(gate="a", by="ann"))
    assert both.with_this(paused(gate="a")) is both
    assert [*both.without("a")] == [paused(gate="a", by="ann")]
    assert [*both.without(gate="a")] == [paused("a")]
    assert both.of(gate="b") is both.of("b") is None


def test_times_are_kept_in_utc() -> None:
    at = NOON.astimezone(timezone(timedelta(hours=5)))
    text = Pauses([Pause(kind="a", at=at)]).text
    assert "T12:00:00Z" in text


def test_there_is_a_limit() -> None:
    full = Pauses(paused(f"kind-{number}") for number in range(MAX_PAUSES))
    assert full.with_this(paused("kind-0")) is full
    with pytest.raises(InvalidValueError, match="one of 257 that are paused, and 256 may be"):
        full.with_this(paused("another"))
    with pytest.raises(InvalidValueError, match=r"^gate would be one of 257"):
        full.with_this(paused(gate="another"))
    assert "another" in full.without("kind-0").with_this(paused(gate="another")).by_gate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '[{"kind":"a"}]',
        '[{"kind":"a","at":"noon"}]',
        '[{"at":"2026-11-29T12:00:00Z"}]',
        '[{"gate":"","at":"2026-11-29T12:00:00Z"}]',
        '[{"gate":"a","kind":"a","at":"2026-11-29T12:00:00Z"}]',
        '[{"kind":"a","at":"2026-11-29T12:00:00"}]',
        '[{"kind":"A B","at":"2026-11-29T12:00:00Z"}]',
        '[{"kind":"a","at":"2026-11-29T12:00:00Z","more":1}]',
        "[" * 5_000,
    ],
)
def test_what_engines_do_not_write_is_damaged(text: str) -> None:
    with pytest.raises(StorageDamagedError, match="the pauses are damaged"):
        Pauses.read(text)
