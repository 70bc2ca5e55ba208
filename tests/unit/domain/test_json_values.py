"""A JSON text of very many values is refused before they are made."""

from __future__ import annotations

import pytest

from engine import InvalidValueError
from engine.domain.json_values import MAX_JSON_VALUES, check_values

MANY = MAX_JSON_VALUES + 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no JSON at all",
        b'{"result": "' + b"," * 4_000_000 + b'"}',
        rb'{"result": "\"' + b"[" * MANY + b'"}',
        b'{"result": "' + rb"\\" * MANY + b'"}',
        b"[" + b"1," * (MANY - 3) + b"1]",
        b"[" + b'",",' * (MANY - 3) + b'""]',
    ],
    ids=["nothing", "words", "commas", "quoted", "escapes", "most values", "most texts"],
)
def test_a_text_of_few_values_is_let_through_however_long_it_is(text: bytes) -> None:
    check_values("line", text)


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * MANY + b"0]",
        b"[" * MANY,
        b"{" + b",".join(b'"%d":0' % number for number in range(MANY)) + b"}",
        b"[" + b'"",' * MANY + b"0]",
        b'"' + b'",' * 2 * MANY,
        rb'["\\",' + b"1," * MANY + b"1]",
    ],
    ids=["lists", "depth", "names", "texts", "broken", "after an escape"],
)
def test_a_text_of_very_many_values_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidValueError, match="line may have 131,072 JSON values, and has more"):
        check_values("line", text)
