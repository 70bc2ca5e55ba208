"""Parameters: what a handler takes of job, input and context, by its annotations.

=================================  ===========================================================
a parameter that is annotated by   gets
=================================  ===========================================================
`Job`, also ``Job[MyStatus]``      the job
`Context`                          the context
any other type                     the job's input as a value of that type, read by pydantic
nothing, ``Any`` or ``object``     what its name says (job, input, context: the input as plain
                                   JSON); otherwise the first the job, the second the context
=================================  ===========================================================

Their order is free: ``(context, job)`` gets what the names say. A name that contradicts an
annotation, as in ``context: Job``, is refused: one of the two is a mistake. A parameter with a
default is left alone, unless it is the first one, annotated as a job or a context, or named
``context``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from msgspec import Struct
from pydantic import TypeAdapter, ValidationError

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.models import Job
from engine.domain.reading_steps import steps_of_reading
from engine.domain.typed_values import problem_of, read
from engine.worker.context import Context
from engine.worker.signature import Signature, Unresolved

Result = TypeVar("Result")

_SAY_NOTHING: Final = (inspect.Parameter.empty, Any, object)
_MANY: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_OPTIONAL: Final = (Union, UnionType)


class Role(Enum):
    """What a parameter gets."""

    JOB = "job"
    INPUT = "input"
    CONTEXT = "context"


_BY_PLACE: Final = (Role.JOB, Role.CONTEXT)
_BY_NAME: Final = {role.value: role for role in Role}


class _Taken(Struct, frozen=True):
    """A parameter that gets an argument."""

    name: str | None
    """For an argument that is given by name; None for one by place."""
    role: Role
    adapter: TypeAdapter[Any] | None
    """Of the type of an input; None for plain JSON."""


class Parameters:
    """Calls a handler with its arguments.

    Args:
        signature: The handler's; without one it takes the job alone.

    Raises:
        InvalidValueError: A parameter's annotation can't be resolved, is unknown to pydantic, or
            can take too long to read; or contradicts its name; two parameters get the same, or one
            gets nothing.
    """

    def __init__(self, signature: Signature | None) -> None:
        found = None if signature is None else signature.parameters
        taken = [_Taken(None, Role.JOB, None)] if found is None else _taken(found)
        self._by_place = [each for each in taken if each.name is None]
        self._by_name = [(each.name, each) for each in taken if each.name is not None]
        roles = [each.role for each in taken]
        for role in Role:
            if roles.count(role) > 1:
                raise InvalidValueError(
                    "handler",
                    f"has two parameters for the {role.value}: annotate one of them as Job or "
                    "Context, or by the type of the input",
                )

    def call(
        self, function: Callable[..., Result], context: Context[Any], given: str | None
    ) -> Result:
        """Call the handler.

        Args:
            function: The handler.
            context: The attempt's.
            given: The job's input, as JSON; None without one.

        Raises:
            InvalidValueError: The input doesn't fit the type of its parameter.
            BaseException: The handler's own.
        """
        by_place = [_argument(each, context, given) for each in self._by_place]
        if not self._by_name:
            return function(*by_place)
        by_name = {name: _argument(each, context, given) for name, each in self._by_name}
        return function(*by_place, **by_name)


def _argument(taken: _Taken, context: Context[Any], given: str | None) -> object:
    if taken.role is Role.CONTEXT:
        return context
    if taken.role is Role.JOB:
        return context.job
    if taken.adapter is None:
        return context.job.input
    try:
        return read(taken.adapter, given or "null")
    except (InvalidValueError, ValidationError) as error:
        raise _unfit(error) from None  # the log would repeat the input with each of its problems
    except Exception as error:  # validators may raise anything
        raise _unfit(error) from error


def _unfit(error: Exception) -> InvalidValueError:
    problem = f"doesn't fit the handler's parameter: {problem_of(error)}"
    return InvalidValueError("input", problem)


def _taken(parameters: Sequence[inspect.Parameter]) -> list[_Taken]:
    taken: list[_Taken] = []
    is_by_place = True
    for place, parameter in enumerate(parameters):
        if parameter.kind in _MANY:
            if place == 0 and parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                taken.append(_Taken(None, Role.JOB, None))
            is_by_place = False
            continue
        role = _role_of(parameter, place)
        if role is None:
            is_by_place = False  # the later ones can be given by name alone
            continue
        is_by_place = is_by_place and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        name = None if is_by_place else parameter.name
        taken.append(_Taken(name, role, _adapter_of(parameter) if role is Role.INPUT else None))
    return taken


def _role_of(parameter: inspect.Parameter, place: int) -> Role | None:
    """Return what a parameter gets; None if it has a default and is left alone.

    Raises:
        InvalidValueError: Neither its annotation nor its name nor its place says it, or two of them
            say different things.
    """
    annotation = _meant(parameter.annotation)
    if (role := _by_annotation(annotation)) is not None:
        _check_name(parameter.name, role)
        return role
    says_nothing = any(annotation is each for each in _SAY_NOTHING)
    if parameter.default is not inspect.Parameter.empty and place > 0:
        return Role.CONTEXT if says_nothing and parameter.name == "context" else None
    if isinstance(annotation, Unresolved):
        problem = f"{shown(annotation.text)} of its parameter {parameter.name} can't be resolved"
        raise InvalidValueError(
            "handler",
            f"has an annotation without a meaning: {problem} ({annotation.problem}): import it "
            "when the program runs, at the top level of the module",
        )
    if not says_nothing:
        return Role.INPUT
    if (named := _BY_NAME.get(parameter.name)) is not None:
        return named
    if place < len(_BY_PLACE) and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        return _BY_PLACE[place]
    raise InvalidValueError(
        "handler",
        f"takes a parameter {parameter.name} that gets nothing: annotate it as Job or Context, or "
        "by the type of the input, or give it a default",
    )


def _check_name(name: str, role: Role) -> None:
    """Refuse a parameter that is annotated as a job or a context, but named as something else.

    Raises:
        InvalidValueError: It is.
    """
    if _BY_NAME.get(name, role) is not role:
        raise InvalidValueError(
            "handler",
            f"has a parameter {name} that is annotated as a {role.value.capitalize()}: change its "
            "annotation or its name",
        )


def _by_annotation(annotation: Any) -> Role | None:  # noqa: ANN401 - any type
    """Return the role that a type names, if it is a job's or a context's, also an optional one."""
    annotation = _meant(annotation)
    if isinstance(annotation, Unresolved):  # often imported for the type checker alone
        name = annotation.text.partition("[")[0].rpartition(".")[2].strip(" '\"")
        return _BY_NAME.get(name.lower()) if name in {"Job", "Context"} else None
    if get_origin(annotation) in _OPTIONAL:
        [kind, *others] = [each for each in get_args(annotation) if each is not NoneType] or [None]
        return None if others else _by_annotation(kind)
    kind = get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return None
    if issubclass(kind, Job):
        return Role.JOB
    return Role.CONTEXT if issubclass(kind, Context) else None


def _meant(annotation: Any) -> Any:  # noqa: ANN401 - any type
    """Return the type behind Annotated, an alias, a NewType or the bound of a type variable."""
    while (found := _behind(annotation)) is not annotation:
        annotation = found
    return annotation


def _behind(annotation: Any) -> Any:  # noqa: ANN401 - any type
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[0]
    alias = get_origin(annotation) or annotation
    kind = type(alias).__name__
    try:
        if kind == "TypeAliasType":  # of typing, or of typing_extensions
            return alias.__value__
        if kind == "TypeVar" and alias.__bound__ is not None:
            return alias.__bound__
    except Exception:  # noqa: BLE001 - an alias is evaluated late, and may be any expression
        return annotation  # pydantic says what is wrong with it
    return alias.__supertype__ if kind == "NewType" else annotation


def _adapter_of(parameter: inspect.Parameter) -> TypeAdapter[Any] | None:
    """Return the adapter of a parameter for the input; None for plain JSON.

    Raises:
        InvalidValueError: Pydantic doesn't know the type, or reading it can take too long.
    """
    if any(_meant(parameter.annotation) is each for each in _SAY_NOTHING):
        return None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation)
        steps_of_reading(adapter)
    except Exception as error:
        problem = f"can't get the input as its parameter {parameter.name}: {problem_of(error)}"
        raise InvalidValueError("handler", problem) from error
    return adapter
