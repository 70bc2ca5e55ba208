"""Generated types, with values of them: models with aliases, generics, unions, discriminators."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import reduce
from itertools import count
from operator import or_
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    create_model,
)
from pydantic.alias_generators import to_camel, to_pascal
from typing_extensions import TypedDict, TypeVar

Item = TypeVar("Item")
_NUMBERS: Final = count()
_DEPTH: Final = 3


class Box(BaseModel, Generic[Item]):
    item: Item = Field(alias="theItem")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Typed(NamedTuple):
    """A type, and a strategy for its values."""

    kind: Any
    values: SearchStrategy[Any]


class Member(NamedTuple):
    """A field of a model."""

    name: str
    aliases: dict[str, Any]
    """What `Field` gets."""
    typed: Typed


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
LEAVES: Final = (
    Typed(bool, st.booleans()),
    Typed(int, st.integers()),
    Typed(float, st.floats(allow_nan=False, allow_infinity=False)),
    Typed(str, TEXTS),
    Typed(bytes, TEXTS.map(str.encode)),
    Typed(Colour, st.sampled_from(Colour)),
    Typed(Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=2)),
    Typed(UUID, st.uuids()),
    Typed(date, st.dates()),
    Typed(datetime, st.datetimes(timezones=st.just(UTC))),
    Typed(timedelta, st.integers(-(10**6), 10**6).map(lambda number: timedelta(seconds=number))),
    Typed(set[int], st.sets(st.integers(), max_size=3)),
)
# JSON tells these apart.
_APART: Final = (LEAVES[0], LEAVES[1], LEAVES[3], Typed(None, st.none()))


@st.composite
def typed(draw: DrawFn, depth: int = _DEPTH) -> Typed:
    """Return a type of any form."""
    if depth == 0:
        return draw(_leaf(0))
    forms = (
        *(_leaf, _list, _dict, _ordered, _union, _model, _generic, _discriminated, _dataclass),
        _row,
    )
    form: Any = draw(st.sampled_from(forms))
    found: Typed = draw(form(depth - 1))
    return found


@st.composite
def _leaf(draw: DrawFn, _depth: int) -> Typed:
    leaf: Typed = draw(st.sampled_from(LEAVES))
    return leaf


@st.composite
def _list(draw: DrawFn, depth: int) -> Typed:
    kind, values = draw(typed(depth))
    return Typed(list[kind], st.lists(values, max_size=2))  # type: ignore[valid-type]


@st.composite
def _dict(draw: DrawFn, depth: int) -> Typed:
    kind, values = draw(typed(depth))
    return Typed(dict[str, kind], st.dictionaries(TEXTS, values, max_size=2))  # type: ignore[valid-type]


def _ordered(_depth: int) -> SearchStrategy[Typed]:
    """Return a dict that is dumped in an order of its own, with sets and lists among its values."""
    sets, lists = st.sets(st.integers(), min_size=1), st.lists(TEXTS, min_size=1)
    kind = Annotated[dict[str, set[int] | list[str]], PlainSerializer(_by_key)]
    return st.just(Typed(kind, st.dictionaries(TEXTS, sets | lists, max_size=4)))


def _by_key(values: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items()))


@st.composite
def _union(draw: DrawFn, depth: int) -> Typed:
    plain = draw(st.lists(st.sampled_from(_APART), min_size=1, unique=True))
    models = draw(st.lists(_model(depth), min_size=1, max_size=2))
    return _any_of([*models, *plain])


def _any_of(kinds: list[Typed]) -> Typed:
    return Typed(
        reduce(or_, [each.kind for each in kinds]), st.one_of([each.values for each in kinds])
    )


@st.composite
def _generic(draw: DrawFn, depth: int) -> Typed:
    kind, values = draw(typed(depth))
    box = Box[kind]  # type: ignore[valid-type]
    return Typed(box, values.map(lambda value: _by_name(box, {"item": value})))


@st.composite
def _discriminated(draw: DrawFn, depth: int) -> Typed:
    aliases = draw(st.sampled_from([{}, {"alias": "theKind"}, {"validation_alias": "theKind"}]))
    models = []
    for tag in ("a", "b"):
        members = draw(_members(depth))
        members.append(Member("kind", aliases, Typed(Literal[tag], st.just(tag))))
        models.append(_made(members, ConfigDict()))
    either = _any_of(models)
    return Typed(Annotated[either.kind, Field(discriminator="kind")], either.values)


@st.composite
def _members(draw: DrawFn, depth: int) -> list[Member]:
    kinds = draw(st.lists(typed(depth), min_size=1, max_size=3))
    names = [f"f_{next(_NUMBERS)}" for _ in kinds]
    aliases: list[dict[str, Any]] = draw(
        st.one_of(
            st.just([{} for _ in names]),
            st.just([{"alias": each} for each in [*names[1:], names[0]]]),  # another field's name
            st.tuples(*[_aliases(name) for name in names]).map(list),
        )
    )
    return [Member(*each) for each in zip(names, aliases, kinds, strict=True)]


@st.composite
def _aliases(draw: DrawFn, name: str) -> dict[str, Any]:
    """Return an alias of a field for both ways, or for reading alone."""
    alias = name + draw(st.sampled_from(["A", " b", ".c", "é", "$"]))
    forms: list[dict[str, Any]] = [
        {"alias": alias},
        {"validation_alias": alias},
        {"validation_alias": AliasPath(alias, 0)},
        {"validation_alias": AliasChoices(AliasPath("all", 0), alias, f"{alias}2")},
    ]
    return draw(st.sampled_from(forms))


@st.composite
def _model(draw: DrawFn, depth: int) -> Typed:
    config = ConfigDict(
        extra=draw(st.sampled_from(["ignore", "forbid", "allow"])),
        alias_generator=draw(st.sampled_from([None, to_camel, to_pascal, str.upper])),
    )
    members = draw(_members(depth))
    if any("validation_alias" in each.aliases for each in members):
        del config["alias_generator"]  # its aliases would be written, and not be read
    return _made(members, config)


def _made(members: list[Member], config: ConfigDict) -> Typed:
    fields: dict[str, Any] = {
        each.name: (each.typed.kind, Field(**each.aliases)) for each in members
    }
    model = create_model(f"Model{next(_NUMBERS)}", __config__=config, **fields)
    values = st.fixed_dictionaries({each.name: each.typed.values for each in members})
    return Typed(
        model,
        values.map(lambda given: _by_name(model, given)),
    )


def _by_name(model: type[BaseModel], given: dict[str, Any]) -> BaseModel:
    return model.model_validate(given, by_alias=False, by_name=True)


def _annotated(member: Member) -> Any:  # noqa: ANN401 - a type
    aliases = member.aliases
    if "validation_alias" in aliases:  # a model around it may have an alias generator
        aliases = {**aliases, "serialization_alias": member.name}
    return Annotated[member.typed.kind, Field(**aliases)]


@st.composite
def _dataclass(draw: DrawFn, depth: int) -> Typed:
    members = draw(_members(depth))
    kind = dataclasses.make_dataclass(
        f"Class{next(_NUMBERS)}", [(each.name, _annotated(each)) for each in members]
    )
    values = st.fixed_dictionaries({each.name: each.typed.values for each in members})
    return Typed(kind, values.map(lambda given: kind(**given)))


@st.composite
def _row(draw: DrawFn, depth: int) -> Typed:
    members = [
        # Alone it is a plain dict, which is written by its names.
        each if "validation_alias" in each.aliases else each._replace(aliases={})
        for each in draw(_members(depth))
    ]
    kind = TypedDict(f"Row{next(_NUMBERS)}", {each.name: _annotated(each) for each in members})  # type: ignore[misc]
    return Typed(kind, st.fixed_dictionaries({each.name: each.typed.values for each in members}))


class Case(NamedTuple):
    """A value, and the adapter of its type."""

    kind: Any
    adapter: TypeAdapter[Any]
    value: Any


@st.composite
def cases(draw: DrawFn) -> Case:
    """Return a value of a generated type."""
    kind, values = draw(typed())
    return Case(kind, TypeAdapter(kind), draw(values))
