"""Past statuses: those that histories have, and that the lifecycle doesn't have any more."""

from __future__ import annotations

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class PastStatus(str):
    """The text of a status that a job had, and that the lifecycle doesn't have any more."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """The plain text, as a member of an enum has it."""
        return str(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        """Validate it as a text."""
        del source, handler
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class MemberFirst:
    """Annotates a union of an enum and `PastStatus`: a text that is a member's value becomes it.

    Without it, pydantic takes a text in JSON for the better match. Its own ``union_mode`` can't be
    given to a union with a type variable.
    """

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema = handler(source)
        if schema["type"] != "union":
            return schema
        return core_schema.union_schema(schema["choices"], mode="left_to_right")
