"""A handler takes any of job, input and context, as its annotations say."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NewType, Optional, TypeVar

import pytest
from typing_extensions import TypeAliasType

from engine import Context, InvalidValueError, Job, JobEngine, Worker
from tests.tries import trio_later
from tests.unit.costly import WIDE, Left
from tests.unit.typed import COMES_BACK, Aliased, Camel
from tests.unit.worker.at_work import COMPLETED, FAILED, ended, working
from tests.unit.worker.in_processes_typed import lossy, typed

if TYPE_CHECKING:
    import engine as hidden
    from tests.unit.typed import Base

pytestmark = pytest.mark.anyio
GIVEN = {"streetName": "High Street"}


async def _input(order: Aliased) -> Any:  # noqa: ANN401
    return [order.street_name]


async def _all(context: Context[Any], order: Aliased, job: Job[Any]) -> Any:  # noqa: ANN401
    return [order.street_name, context.job is job]


def _named(job: Job[Any], /, times: int = 3, *, order: Aliased, context: Context[Any]) -> Any:  # noqa: ANN401
    return [order.street_name, context.job is job, times]


def _optional(order: Aliased, context: Optional[Context[Any]] = None) -> Any:  # noqa: ANN401, UP045
    return [order.street_name, isinstance(context, Context)]


def _plain(context: object, input: Any) -> Any:  # noqa: A002, ANN401
    return [input, isinstance(context, Context)]


def _mixed(order: dict[str, str], context: Any) -> Any:  # noqa: ANN401
    return [order, isinstance(context, Context)]


def _swapped(context, job):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return [isinstance(job, Job), isinstance(context, Context)]


def _half_annotated(context, it: Job[Any], input):  # type: ignore[no-untyped-def]  # noqa: A002, ANN001, ANN202
    return [isinstance(it, Job), isinstance(context, Context), input]


def _of_my_own_jobs(job: Aliased) -> Any:  # noqa: ANN401
    return [job.street_name]


def _by_place(job: Any, it: object) -> Any:  # noqa: ANN401
    return [isinstance(job, Job), isinstance(it, Context)]


def _for_the_checker(job: Job[Any], it: hidden.Context[Any]) -> Any:  # noqa: ANN401
    return [isinstance(job, Job), isinstance(it, Context)]


async def _many(items: list[int | float | bool | WIDE]) -> None: ...
def _many_in_thread(items: list[int | float | bool | WIDE]) -> None: ...


def _nothing() -> Any:  # noqa: ANN401
    return ["nothing"]


class _Object:
    def __call__(self, order: Aliased) -> Any:  # noqa: ANN401
        return [order.street_name]


@functools.wraps(_input)
async def _wrapped(*arguments: Any) -> Any:  # noqa: ANN401
    return await _input(*arguments)


AnyJob = TypeVar("AnyJob", bound=Job[Any])
JobAlias = TypeAliasType("JobAlias", Annotated[Job[Any], "an alias"])
Work = NewType("Work", Job[Any])
Order = TypeAliasType("Order", Aliased)


def _annotated(
    order: Annotated[Order, "an order"], job: Annotated[Job[Any], 1], it: Annotated[Context[Any], 2]
) -> Any:  # noqa: ANN401
    return [order.street_name, isinstance(job, Job), isinstance(it, Context)]


def _alias(it: JobAlias) -> Any:  # noqa: ANN401
    return [isinstance(it, Job)]


def _optional_alias(it: JobAlias | None) -> Any:  # noqa: ANN401
    return [isinstance(it, Job)]


def _new_type(it: Work) -> Any:  # noqa: ANN401
    return [isinstance(it, Job)]


def _bound(it: AnyJob, other: Annotated[Any, "says nothing"]) -> Any:  # noqa: ANN401
    return [isinstance(it, Job), isinstance(other, Context)]


STREET = "High Street"
HANDLERS: dict[str, tuple[Callable[..., Any], Any]] = {
    "input": (_input, [STREET]),
    "all, in any order": (_all, [STREET, True]),
    "by name": (_named, [STREET, True, 3]),
    "an optional context": (_optional, [STREET, True]),
    "plain input by its name": (_plain, [GIVEN, True]),
    "a context without an annotation": (_mixed, [GIVEN, True]),
    "context and job by their names": (_swapped, [True, True]),
    "all, by names and an annotation": (_half_annotated, [True, True, GIVEN]),
    "an input of a type of jobs": (_of_my_own_jobs, [STREET]),
    "job and context by their places": (_by_place, [True, True]),
    "imported for the type checker": (_for_the_checker, [True, True]),
    "nothing": (_nothing, ["nothing"]),
    "annotated": (_annotated, [STREET, True, True]),
    "an alias": (_alias, [True]),
    "an optional alias": (_optional_alias, [True]),
    "a new type": (_new_type, [True]),
    "a bound": (_bound, [True, True]),
    "an object": (_Object(), [STREET]),
    "wrapped": (_wrapped, [STREET]),
    "partial": (functools.partial(_named, times=4), [STREET, True, 4]),
}


@pytest.mark.parametrize("name", HANDLERS)
async def test_a_handler_gets_what_it_takes(name: str) -> None:
    handler, expected = HANDLERS[name]
    async with working(handler) as engine:
        job = await ended(engine, GIVEN)
        assert (job.status, job.error) == (COMPLETED, None)
        assert await engine.result(job.job_id, list[Any]) == expected


@trio_later
async def test_a_handler_in_a_process_gets_and_returns_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    order, _ = COMES_BACK["an alias generator"]
    async with working(typed, processes=True) as engine:
        job = await ended(engine, order)
        assert (job.result_form, job.error) == ("json", None)
        assert await engine.result(job.job_id, Camel) == order
        wrong = await ended(engine, {"firstOrder": 7})
        assert (wrong.status, wrong.attempt) == (FAILED, 1)
        assert "InvalidValueError: input doesn't fit" in (wrong.error or "")
    async with working(lossy, processes=True) as engine:
        job = await ended(engine)
    assert (job.status, job.result_form) == (COMPLETED, "json")
    [told] = [each for each in caplog.records if "is kept" in each.getMessage()]
    assert (told.levelno, told.job_id) == (logging.WARNING, job.job_id)  # type: ignore[attr-defined]
    assert told.getMessage().endswith("at result.a.note")


@pytest.mark.parametrize("handler", [_input, _optional], ids=["async", "thread"])
async def test_an_input_that_does_not_fit_fails_the_job_at_once(
    handler: Callable[..., Any],
) -> None:
    async with working(handler) as engine:
        for given, problem in ((None, "Input should be an object"), ({"nr": "x"}, "nr: Input")):
            job = await ended(engine, given)
            assert (job.status, job.attempt) == (FAILED, 1)
            told = f"InvalidValueError: input doesn't fit the handler's parameter: {problem}"
            assert (job.error or "").startswith(told)


@pytest.mark.parametrize("handler", [_many, _many_in_thread], ids=["async", "thread"])
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["secret"] * 25_000, "100,000 problems"),
        (["secret"] * 2, "0.int: Input should be a valid integer"),
        ([{"secret": 1}, *[{}] * 30_000], "is too large for its type: reading it may take "),
    ],
    ids=["many wrong items", "two wrong items", "too many steps"],
)
async def test_the_log_of_a_wrong_input_is_short_and_does_not_show_it(
    handler: Callable[..., Any], given: object, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(handler) as engine:
        job = await ended(engine, given)
        assert f"doesn't fit the handler's parameter: {problem}" in (job.error or "")
    assert "doesn't fit the handler's parameter" in caplog.text
    assert "secret" not in caplog.text
    assert len(caplog.text) < 20_000


async def test_names_are_read_as_well_as_aliases() -> None:
    async with working(_input) as engine:
        job = await ended(engine, {"street_name": "Low Street"})
        assert job.result == '["Low Street"]'


Broken = TypeAliasType("Broken", "NotImported")  # type: ignore[name-defined]  # noqa: F821


def _two_inputs(order: Aliased, other: Camel) -> None: ...
def _two_contexts(context: object, it: object) -> None: ...
def _two_jobs(job: Job[Any], other: Job[Any]) -> None: ...
def _half_named(it: object, job: object) -> None: ...
def _contradicts(job: Context[Any], context: Job[Any]) -> None: ...
def _named_context(it: object, *, context: Job[Any]) -> None: ...
def _named_input(input: Job[Any] | None) -> None: ...  # noqa: A002
def _unknown(order: Exception) -> None: ...
def _unresolved(order: Base) -> None: ...
def _left_over(job: object, context: object, more: object) -> None: ...
def _named_only(job: object, *, more: object) -> None: ...
def _broken_alias(order: Broken) -> None: ...
def _doubling(order: list[Left]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (_two_inputs, "has two parameters for the input"),
        (_two_contexts, "has two parameters for the context"),
        (_two_jobs, "has two parameters for the job"),
        (_half_named, "has two parameters for the job: annotate one of them as Job or Context"),
        (_contradicts, "has a parameter job that is annotated as a Context: change its annotation"),
        (_named_context, "has a parameter context that is annotated as a Job: change"),
        (_named_input, "has a parameter input that is annotated as a Job: change"),
        (_unknown, "can't get the input as its parameter order: "),
        (_unresolved, "'Base' of its parameter order can't be resolved .*'Base' is not defined"),
        (_left_over, "takes a parameter more that gets nothing"),
        (_named_only, "takes a parameter more that gets nothing"),
        (_broken_alias, "can't get the input as its parameter order: "),
        (_doubling, "its parameter order: has a union of which 2 .*, Left, Right: "),
    ],
)
def test_parameters_that_can_not_be_filled_are_refused(
    handler: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(InvalidValueError, match=f"^handler .*{problem}"):
        Worker(JobEngine(), handler)
