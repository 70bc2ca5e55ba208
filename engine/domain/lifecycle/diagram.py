"""The drawing of a lifecycle, as the text of a Mermaid state diagram."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from engine.domain.lifecycle.tables import Tables, text_of

# The keywords of a Mermaid state diagram (https://mermaid.js.org/syntax/stateDiagram.html).
_WORDS: Final = frozenset({"state", "note", "end", "direction", "class", "classDef", "style", "as"})


def mermaid(tables: Tables[Any]) -> str:
    """Draw every status, birth, move and end."""
    name_of = {status: _name(status) for status in tables.statuses}
    lines = ["stateDiagram-v2"]
    lines += [
        f'    state "{_label(status)}" as {name}'
        for status, name in name_of.items()
        if name != status.value
    ]
    lines += [f"    [*] --> {name_of[status]}" for status in tables.births]
    for status in tables.statuses:
        targets = [target for target in tables.statuses if target in tables.moves[status]]
        lines += [f"    {name_of[status]} --> {name_of[target]}" for target in targets]
        lines += [f"    {name_of[status]} --> [*]"] * (not targets)
    return "\n".join(lines) + "\n"


def _name(status: Enum) -> str:
    """Return the value of a status if Mermaid accepts it as a name, else the member's name."""
    value = text_of(status)
    plain = value.isascii() and value.isidentifier() and value not in _WORDS
    plain = plain and not value.startswith("status_")  # it could equal another member's name
    return value if plain else f"status_{status.name}"


def _label(status: Enum) -> str:
    return text_of(status).replace('"', "#quot;").replace("\n", " ")
