"""Values of types that pydantic knows: those that come back from JSON, and those that can't."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any, Generic, Literal
from uuid import UUID

from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
)
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as checked_dataclass
from typing_extensions import TypedDict, TypeVar

Item = TypeVar("Item")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Aliased(BaseModel):
    street_name: str = Field("nowhere", alias="streetName")
    number: int = Field(0, validation_alias=AliasChoices("no", "nr"))


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    first_order: Aliased | None = None
    all_orders: list[Aliased] = []


class Swapped(BaseModel):
    one: int = Field(alias="other")
    other: int = Field(alias="one")


class Incoming(BaseModel):
    """Each field is dumped by a name other than the one by which it is asked for."""

    model_config = ConfigDict(extra="forbid")
    size: int = Field(validation_alias="theSize")
    colour: str = Field(validation_alias=AliasChoices("theColour", AliasPath("colours", 0)))
    first: int = Field(validation_alias=AliasPath("all", 0))
    note: str = Field("", validation_alias="theNote", serialization_alias="theNote")
    either: int = Field(validation_alias=AliasChoices("a", "b"), serialization_alias="b")


class IncomingRow(TypedDict):
    size: Annotated[int, Field(validation_alias="theSize")]


@dataclass
class IncomingPlain:
    size: Annotated[int, Field(validation_alias="theSize")]
    others: list[IncomingPlain] = field(default_factory=list)


class IncomingCat(BaseModel):
    kind: Literal["cat"] = Field(validation_alias="theKind")


class IncomingDog(BaseModel):
    kind: Literal["dog"] = Field(validation_alias="theKind")


class NameOnly(BaseModel):
    model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)
    size: int = Field(alias="theSize")


class Keyed(BaseModel):
    """Orders its keys when it is dumped, and has a set and a list of the same length."""

    parts: dict[str, list[str] | set[int]]

    @field_serializer("parts")
    def _in_order(self, parts: dict[str, Any]) -> dict[str, Any]:
        return dict(sorted(parts.items()))


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime
    price: Decimal
    tags: set[str]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.side**2


class Caching(BaseModel):
    model_config = ConfigDict(extra="allow")
    side: int
    _made: object = PrivateAttr(default_factory=object)

    @cached_property
    def area(self) -> int:
        return self.side**2


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int


class Pets(BaseModel):
    all: list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    any: int | str | None


class Box(BaseModel, Generic[Item]):
    item: Item


class Colour(Enum):
    RED = "red"


class Row(TypedDict):
    at: datetime
    colour: Colour


@dataclass
class Plain:
    at: datetime
    rows: list[Row] = field(default_factory=list)


@checked_dataclass
class Checked:
    price: Decimal = Field(alias="thePrice")


def incoming() -> Incoming:
    given = {"theSize": 1, "theColour": "red", "all": [2], "theNote": "a note", "a": 3}
    return Incoming.model_validate(given)


def caching() -> Caching:
    model = Caching.model_validate({"side": 3, "more": [1]})
    assert model.area == 9
    return model


COMES_BACK: dict[str, tuple[Any, Any]] = {
    "an alias": (Aliased(streetName="High Street", no=3), Aliased),
    "an alias generator": (Camel(firstOrder=Aliased(nr=1), allOrders=[Aliased()]), Camel),
    "aliases that are names": (Swapped(other=1, one=2), Swapped),
    "aliases for reading alone": (incoming(), Incoming),
    "such ones in a typed dict": (IncomingRow(size=1), IncomingRow),
    "such ones in a dataclass": (IncomingPlain(1, [IncomingPlain(2)]), IncomingPlain),
    "such ones as discriminators": (
        [IncomingDog(theKind="dog")],
        list[Annotated[IncomingCat | IncomingDog, Field(discriminator="kind")]],
    ),
    "an alias that its model doesn't read": (NameOnly(size=1), NameOnly),
    "keys that are sorted": (Keyed(parts={"b": {8, 0}, "a": ["y", "x"]}), Keyed),
    "strict": (Strict(at=NOON, price=Decimal("1.10"), tags={"a", "b"}), Strict),
    "a computed field, no others": (Closed(side=3), Closed),
    "more fields, private and cached ones": (caching(), Caching),
    "a discriminator, a union": (Pets(all=[Cat(lives=9), Dog(lives=1)], any="5"), Pets),
    "a generic": (Box[Decimal](item=Decimal("1.10")), Box[Decimal]),
    "a root": (RootModel[dict[int, Colour]]({1: Colour.RED}), RootModel[dict[int, Colour]]),
    "a dataclass": (Plain(NOON, [{"at": NOON, "colour": Colour.RED}]), Plain),
    "a dataclass of pydantic": (Checked(thePrice=Decimal(2)), Checked),
    "a typed dict": (Row(at=NOON, colour=Colour.RED), Row),
    "a list of models": ([Aliased(no=1), Aliased(no=2)], list[Aliased]),
    "models in dicts": (
        {"a": {"b": [Swapped(other=1, one=2)]}},
        dict[str, dict[str, list[Swapped]]],
    ),
    "times": ([NOON, date(2026, 3, 1)], tuple[datetime, date]),
    "a time": (time(12), time),
    "a duration": (timedelta(days=1), timedelta),
    "a decimal": (Decimal("0.10"), Decimal),
    "an id": (UUID(int=7), UUID),
    "an enum": (Colour.RED, Colour),
    "a path": (PurePosixPath("/a"), PurePosixPath),
    "a set": ({1, 2}, set[int]),
    "a frozen set": (frozenset({"a"}), frozenset[str]),
    "bytes": ("é".encode(), bytes),
}


class Secret(BaseModel):
    name: str
    password: SecretStr


class Excluding(BaseModel):
    note: str = Field("none", exclude=True)


class Requiring(BaseModel):
    note: str = Field(exclude=True)


class Base(BaseModel):
    name: str


class Special(Base):
    price: int


class Holder(BaseModel):
    items: list[Base]


class Renamed(BaseModel):
    size: int = Field(0, serialization_alias="theSize")


class Anything(BaseModel):
    value: Any


class Rounding(BaseModel):
    price: float

    @field_serializer("price")
    def _round(self, price: float) -> float:
        return round(price)


LOST: dict[str, tuple[Any, str]] = {
    "a secret": (Secret(name="a", password=SecretStr("x")), ".password"),
    "a secret alone": ({"a": [SecretBytes(b"x")]}, ".a[0]"),
    "an excluded field": ([Excluding(note="a note")], "[0].note"),
    "a required excluded field": (Requiring(note="a note"), ""),
    "a subclass": (Holder(items=[Base(name="a"), Special(name="b", price=1)]), ".items[1]"),
    "another name": ({"b": Renamed(size=1)}, ".b.size"),
    "a type that nothing names": (Anything(value=[{"a": Decimal(1)}]), ".value[0].a"),
    "a set of anything": ({Decimal(1)}, ""),
    "its own form": (Rounding(price=1.5), ".price"),
    "a wrong value": (Closed.model_construct(side="3"), ".side"),  # type: ignore[arg-type]
    "a dataclass's wrong value": ([Plain("today")], "[0]"),  # type: ignore[arg-type]
}
