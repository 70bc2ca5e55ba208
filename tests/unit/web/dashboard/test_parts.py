"""The parts that pages are made of: texts, forms of prompts, diagrams, and the files that ship."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest
from markupsafe import Markup

from engine import AGENT_JOB_LIFECYCLE, ORDER_LIFECYCLE, PAID_JOB_LIFECYCLE, InvalidValueError
from engine.domain.lifecycle.description import description
from engine.web.dashboard import texts
from engine.web.dashboard.bodies import parts_of
from engine.web.dashboard.charts import chart_of
from engine.web.dashboard.diagram import diagram_of
from engine.web.dashboard.inputs import answer_of, inputs_of
from engine.web.dashboard.tables import Tables

STATIC = files("engine.web.dashboard") / "static"


# --- sizes --------------------------------------------------------------------------------------


def test_the_script_and_the_style_are_small() -> None:
    script, style = (
        (STATIC / name).read_text("utf-8") for name in ("dashboard.js", "dashboard.css")
    )
    assert (len(script.encode()) < 6_000, len(script.splitlines()) < 200) == (True, True)
    assert len(style.encode()) < 8_000
    for text in (script, style):
        assert "://" not in text  # nothing comes from elsewhere
    for word in ("innerHTML", "eval(", "insertAdjacentHTML", "document.write"):
        assert word not in script


# --- texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand", "two\nlines\tand"),
        ("\x1b[31mred\r\x00", r"\x1b[31mred\r\x00"),
        ("a\u202eb\u2066c\u200d", r"a\u202eb\u2066c\u200d"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        (7, 7),
        (Markup("<b>\u202e</b>"), Markup("<b>\u202e</b>")),
    ],
)
def test_characters_that_can_not_be_seen_are_shown(text: object, shown: object) -> None:
    assert texts.visible(text) == shown


@pytest.mark.parametrize("value", ["", "a\r\nb", "\"'<>&", "ä \u202e \U0001f600", "%25", "x" * 999])
def test_a_form_brings_back_any_text(value: str) -> None:
    token = texts.token(value, 7)
    assert token.isascii()
    assert not set(token) & set("\"'<>& \n\r")
    assert parts_of(token) == [value, 7]


def test_long_texts_are_cut() -> None:
    assert texts.cut("a  b\n") == "a b"
    assert len(texts.cut("x" * 1_000_000)) == 161
    assert texts.shown("x" * 1_000_000).endswith("(1,000,000 characters; the JSON API has all)")
    assert len(texts.json_shown(["x" * 1_000_000])) < 101_000


def test_times_are_told_by_their_distance() -> None:
    now = datetime.now(UTC)
    assert "5 min" in texts.ago((now - timedelta(minutes=5, milliseconds=50)).isoformat())
    assert texts.ago(None) == ""
    at = "2026-11-29T21:26:17.123456Z"
    assert texts.moment(at) == f'<time datetime="{at}">2026-11-29 21:26:17</time>'
    assert texts.between(at, "2026-11-29T22:26:47Z") == "1 h"


# --- charts -------------------------------------------------------------------------------------


def _told(**periods: tuple[int, int, int, int]) -> dict[str, Any]:
    sorts = ("created", "succeeded", "failed", "given_up")
    return {
        "since": "2026-11-30T03:00:00.000000Z",
        "until": "2026-11-30T03:09:59.123456Z",
        "every": 2,
        "periods": [
            {"at": f"2026-11-30T03:{at[1:]}:00.000000Z", **dict(zip(sorts, counts, strict=True))}
            for at, counts in periods.items()
        ],
        "all_counted": True,
        "can_count": True,
    }


def test_columns_stand_on_each_other_and_a_line_goes_across() -> None:
    chart = chart_of("Last hour", "a minute", _told(_02=(4, 1, 1, 0), _08=(0, 2, 0, 2)))
    assert (chart.width, chart.most, chart.until) == (5, 4, "2026-11-30T03:08:00.000000Z")
    assert chart.columns == {
        "success": "M1.1 75h0.8V100h-0.8zM4.1 50h0.8V100h-0.8z",
        "failure": "M1.1 50h0.8V75h-0.8z",
        "given-up": "M4.1 0h0.8V50h-0.8z",
    }
    assert chart.line == "M0 100h1V0h1V100h1V100h1V100h1"
    assert [(each.label, each.jobs) for each in chart.totals] == [
        *(("created", 4), ("succeeded", 3), ("failed", 1), ("given up", 2))
    ]


def test_a_chart_of_nothing_is_a_flat_line() -> None:
    chart = chart_of("Last hour", "a minute", _told())
    assert (chart.most, chart.line) == (0, "M0 100h1V100h1V100h1V100h1V100h1")
    assert not any(chart.columns.values())


def test_a_chart_of_millions_stays_small() -> None:
    millions = {f"_{place * 2:02}": (1_234_567 + place, 7, 10**9, 0) for place in range(5)}
    chart = chart_of("Last day", "in 15 minutes", _told(**millions))
    assert "e" not in chart.line + "".join(chart.columns.values())
    assert len(chart.line) < 100


# --- prompts ------------------------------------------------------------------------------------


def types(schema: dict[str, Any]) -> list[str]:
    return [each.type for each in inputs_of(schema)]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {str(n): {"type": "string"} for n in range(101)}},
        {"type": ["string", "integer"]},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"$ref": "#/$defs/lost"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"$ref": "https://elsewhere.test/schema"},
        {"enum": [[1], [2]]},
        {"properties": 7, "type": "object"},
    ],
)
def test_any_other_schema_has_an_input_for_json(schema: dict[str, Any]) -> None:
    assert types(schema) == ["json"]


def test_a_flat_object_has_an_input_for_each_value() -> None:
    schema = {
        "type": "object",
        "required": ["count", "maybe"],
        "properties": {
            "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
            "maybe": {"anyOf": [{"$ref": "#/$defs/Size"}, {"type": "null"}]},
            "mail": {"type": "string", "format": "email"},
            "yes": {"type": "boolean", "default": False},
            "fixed": {"const": 7},
        },
        "$defs": {"Size": {"enum": ["s", 2, "2", None], "title": "Size"}},
    }
    count, maybe, mail, yes, fixed = inputs_of(schema)
    assert types(schema) == ["number", "select", "email", "select", "select"]
    assert (count.attributes, count.default) == ({"min": 1, "max": 9}, "3")
    assert [each.text for each in maybe.choices] == ['"s"', "2", '"2"']
    assert [each.label for each in maybe.choices] == ["s", "2", "2"]
    assert [each.must_be_filled for each in (count, maybe, mail)] == [True, False, False]
    assert (yes.default, fixed.choices[0].text, maybe.label) == ("no", "7", "Size")
    assert answer_of(schema, {"field.0": "3"}) == {"count": 3, "maybe": None}
    given = {"field.0": "3", "field.1": '"2"', "field.2": "a@b.c", "field.3": "yes", "field.4": "7"}
    assert answer_of(schema, given) == {
        "count": 3,
        "maybe": "2",
        "mail": "a@b.c",
        "yes": True,
        "fixed": 7,
    }


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("integer", text) for text in ("", "1.0", "true", "x", "9" * 5_000, "NaN", "[1]")),
        *(("number", text) for text in ("", "true", "x", "Infinity", '"1"')),
        *(("json", text) for text in ("", "{", "NaN", "[" * 100_000)),
    ],
)
def test_a_value_of_another_kind_is_refused(kind: str, text: str) -> None:
    schema: dict[str, Any] = {} if kind == "json" else {"type": kind}
    with pytest.raises(InvalidValueError, match=r"^(answer|value) must be"):
        answer_of(schema, {"field.0": text})


def test_an_answer_of_very_many_values_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidValueError, match=r"^answer may have 131,072 JSON values"):
        answer_of({}, {"field.0": "[" + "[]," * 200_000})


def test_an_input_that_is_left_out_or_none_of_its_choices() -> None:
    schema = {"oneOf": [{"enum": ["a", "b"], "title": "Size"}, {"type": "null"}], "default": "b"}
    [size] = inputs_of(schema)
    assert (size.default, size.must_be_filled) == ('"b"', False)
    assert (answer_of(schema, {}), answer_of(schema, {"field.0": '"a"'})) == (None, "a")
    with pytest.raises(InvalidValueError, match=r"^Size must be a or b, not 'c'"):
        answer_of(schema, {"field.0": "c"})


# --- diagrams -----------------------------------------------------------------------------------


def tables_of(lifecycle: Any) -> Tables:  # noqa: ANN401 - of any statuses
    return Tables.of(json.loads(description(lifecycle)))


@pytest.mark.parametrize("lifecycle", [ORDER_LIFECYCLE, PAID_JOB_LIFECYCLE, AGENT_JOB_LIFECYCLE])
def test_a_diagram_has_every_status_once_and_the_way_of_the_job(lifecycle: Any) -> None:  # noqa: ANN401
    tables = tables_of(lifecycle)
    way = [(None, tables.initial), (tables.initial, tables.running)]
    diagram = diagram_of(tables, way, tables.running)
    assert diagram is not None
    places = {box.place for box in diagram.boxes}
    assert len(places) == len(tables.statuses)
    for box in diagram.boxes:
        assert 0 <= box.place.x <= diagram.width - diagram.box_width
        assert 0 <= box.place.y <= diagram.height - diagram.box_height
        assert box.classes.endswith("now") == (box.status == tables.running)
    assert [arrow.is_taken for arrow in diagram.arrows].count(True) == 1
    assert len(diagram.arrows) == sum(map(len, tables.moves.values()))


def test_a_lifecycle_of_very_many_statuses_has_no_diagram() -> None:
    many = [f"status {number}" for number in range(41)]
    tables = Tables(many, {}, many[0], many[1], [many[2]], [many[3]])
    assert diagram_of(tables, [], many[0]) is None
    few = Tables(many[:4], {}, many[0], many[1], [many[2]], [many[3]])
    assert diagram_of(few, [], "lost") is not None
