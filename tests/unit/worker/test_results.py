"""Results come back as they were returned: texts as texts, and anything else through JSON."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, NoReturn

import pytest
from pydantic import (
    BaseModel,
    Field,
    Secret,
    SecretBytes,
    SecretStr,
    field_serializer,
    model_validator,
)
from typing_extensions import TypedDict

from engine import InvalidValueError, JobEngine, Worker
from engine.domain.difference import difference_of
from tests.unit.claiming import NewPlace
from tests.unit.costly import Left, Right
from tests.unit.typed import COMES_BACK, LOST, Aliased, Base, Plain, Special
from tests.unit.worker.at_work import COMPLETED, ended, working

pytestmark = pytest.mark.anyio


def returning(value: object, kind: Any = None) -> Callable[..., Any]:  # noqa: ANN401
    """Return a handler that returns a value, with an annotation."""

    async def handler(_job: Any) -> Any:  # noqa: ANN401
        return value

    handler.__annotations__["return"] = kind
    return handler


class Word(StrEnum):
    RED = "red"


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXTS: list[tuple[str, Any, object]] = [
    ("red", str | None, "red"),
    ("red", Literal["red", "blue"], "red"),
    ("red", Word, Word.RED),
    ("red", Any, "red"),
    ("2026-03-01T12:00:00Z", datetime, NOON),
    ("5", str | int, "5"),
    ("5", int, 5),
    ("null", str | None, "null"),
    ("null", int | None, None),
    ('{"a": 1}', str, '{"a": 1}'),
    ('{"a": 1}', dict[str, int], {"a": 1}),
    ('{"a": 1}', Any, '{"a": 1}'),
]
VALUES: list[tuple[object, Any, object]] = [
    (5, str | int, 5),
    (5, str, "5"),
    ({"a": 1}, str, '{"a":1}'),
    ({"a": 1}, Any, {"a": 1}),
    (NOON, str, "2026-03-01T12:00:00Z"),
    (NOON, Any, "2026-03-01T12:00:00Z"),
    (True, bool, True),
]


@pytest.mark.parametrize(("value", "kind", "expected"), [*TEXTS, *VALUES], ids=str)
async def test_a_result_is_had_as_what_it_was(value: object, kind: Any, expected: object) -> None:  # noqa: ANN401
    async with working(returning(value)) as engine:
        job = await ended(engine)
        assert job.result_form == (None if isinstance(value, str) else "json")
        found = await engine.result(job.job_id, kind)
        assert (found, type(found)) == (expected, type(expected))
        assert await engine.result(job.job_id) == job.result
        if isinstance(value, str):
            assert job.result == value


async def test_the_form_of_a_result_outlives_its_engine(lasting_place: NewPlace) -> None:
    async with working(returning([1]), lasting_place()) as engine:
        job = await ended(engine)
    async with working(returning("no"), lasting_place()) as engine:
        assert (await engine.get(job.job_id)).result_form == "json"
        assert (await engine.get(job.job_id)).result == "[1]"


async def test_a_result_that_fits_in_no_way_tells_both() -> None:
    async with working(returning({"streetName": 1})) as engine:
        job = await ended(engine)
        with pytest.raises(InvalidValueError) as wrong:
            await engine.result(job.job_id, Aliased)
    assert wrong.value.field == "kind"
    assert "as JSON: streetName: Input should be a valid string, as a text: " in str(wrong.value)


@pytest.mark.parametrize("annotated", [True, False])
async def test_a_typed_result_comes_back(
    annotated: bool,  # noqa: FBT001 - a parameter of a test
    caplog: pytest.LogCaptureFixture,
) -> None:
    for value, kind in COMES_BACK.values():
        async with working(returning(value, kind if annotated else None)) as engine:
            job = await ended(engine)
            assert difference_of(value, await engine.result(job.job_id, kind)) is None
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_a_result_that_does_not_come_back_is_kept_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for value, place in LOST.values():
        async with working(returning(value)) as engine:
            job = await ended(engine)
        assert (job.status, job.result_form, job.error) == (COMPLETED, "json", None)
        [told] = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert told.getMessage().endswith(f"as it was returned, at result{place}")
        assert told.job_id == job.job_id  # type: ignore[attr-defined]
        caplog.clear()


async def test_a_result_that_takes_long_to_read_is_kept_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working(returning(Left(inner=Right(right=7)))) as engine:
        job = await ended(engine)
        assert (job.status, job.result_form) == (COMPLETED, "json")
        assert "is kept, but does not come back" in caplog.text
        with pytest.raises(InvalidValueError, match=r"^kind .*Left.* has a union of which 2 "):
            await engine.result(job.job_id, Left)


async def test_a_result_that_is_not_of_its_annotation_loses_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working(returning(Special(name="a", price=1), Base)) as engine:
        job = await ended(engine)
        assert await engine.result(job.job_id, Special) == Special(name="a", price=1)
    assert "at result" in caplog.text


async def test_an_annotation_writes_what_no_type_of_its_own_does() -> None:
    for value, kind in (({1: Decimal("0.10")}, dict[int, Decimal]), ({Decimal(1)}, set[Decimal])):
        async with working(returning(value, kind)) as engine:
            job = await ended(engine)
            assert await engine.result(job.job_id, kind) == value


class Login(BaseModel):
    password: SecretStr


class Inner(BaseModel):
    logins: dict[str, tuple[Login, ...]] | None = None


class Hiding(BaseModel):
    note: str = Field("", exclude=True)


class Row(TypedDict):
    code: Secret[int]


class Outgoing(BaseModel):
    size: int = Field(serialization_alias="theSize")


@dataclass
class Differing:
    size: Annotated[int, Field(validation_alias="in", serialization_alias="out")]


class Renaming(BaseModel):
    """Reads the name of its dump by a function before it."""

    size: int = Field(serialization_alias="theSize")

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, value: Any) -> Any:  # noqa: ANN401 - whatever is read
        return {"size": value["theSize"]} if "theSize" in value else value


class Defaults(BaseModel):
    """Has defaults that look like parts of pydantic's schemas."""

    encoding: dict[str, str] = {"serialization": "utf-8"}
    options: dict[str, Any] = {"serialization_exclude": True, "schema": {"type": "any"}}


class Shown(BaseModel):
    password: SecretStr

    @field_serializer("password")
    def _show(self, password: SecretStr) -> str:
        return password.get_secret_value()


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (Login, "result.password is a secret"),
        (list[Inner], "result.logins.password is a secret"),
        (SecretBytes | None, "result is a secret"),
        (Hiding | int, "result.note is excluded"),
        (Row, "result.code is a secret"),
        (Outgoing, "result.size is written as 'theSize', which isn't read"),
        (dict[str, Differing], "result.size is written as 'out', which isn't read"),
        (Awaitable[Login], "result.password is a secret"),
        (Coroutine[Any, Any, Hiding], "result.note is excluded"),
        (Exception, "can't be kept as JSON"),
        (list[Left], "has a union of which 2 alternatives"),
    ],
    ids=str,
)
def test_a_return_type_that_can_not_come_back_is_refused(kind: Any, place: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidValueError, match=place) as refused:
        Worker(JobEngine(), returning(None, kind))
    assert refused.value.field == "handler"


@pytest.mark.parametrize(
    "kind",
    [
        *(None, Any, object, NoReturn, "NotImported", Plain, Shown, Aliased, str | int, Defaults),
        *(Renaming, list[Renaming]),
        *(kind for _, kind in COMES_BACK.values()),
    ],
    ids=str,
)
def test_any_other_return_type_is_taken(kind: Any) -> None:  # noqa: ANN401
    Worker(JobEngine(), returning(None, kind))
