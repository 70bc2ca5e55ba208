"""Snapshots: the base of the models that callers see."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Any, ClassVar, Final, NoReturn

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

UtcDatetime = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]


class Nothing(dict[str, Any]):
    """An empty dict, which nobody can fill: all snapshots share one, so that it costs nothing."""

    def __setitem__(self, *_: object, **__: object) -> NoReturn:
        """Refuse items.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a snapshot can't be changed")

    update = setdefault = __ior__ = __setitem__


NOTHING: Final = Nothing()


class Snapshot(BaseModel):
    """Is frozen, refuses fields that it doesn't have, and can be pickled."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the generic class and its status: pickle can't find ``Job[MyStatus]`` by name."""
        generic = type(self).__pydantic_generic_metadata__
        return _unpickle, (generic["origin"] or type(self), generic["args"], self.__getstate__())


def _unpickle(kind: Any, args: tuple[Any, ...], state: dict[Any, Any]) -> object:  # noqa: ANN401
    snapshot = object.__new__(kind[args] if args else kind)
    snapshot.__setstate__(state)
    return snapshot
