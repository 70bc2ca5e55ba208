"""Texts: how stored values are shown on a page.

Whatever is stored is text, and none of it is obeyed: the templates escape HTML, and
`engine.domain.visible_text` the characters that would change how a text reads, or are not seen.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

from engine.domain import visible_text
from engine.domain.spans import distance, span

_KEPT: Final = "\n\t"
_CUT_CHARACTERS: Final = 160
_SHOWN_CHARACTERS: Final = 100_000
"""A page shows so much of one value; the JSON API has it whole."""


def visible(value: object) -> object:
    """Return a text with what is not seen as escapes, but for lines and tabs.

    `jinja2` finalizes each expression by it. Other values, and texts that are HTML, stay.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return visible_text.visible(value, kept=_KEPT)


def exact(value: str) -> Markup:
    """Return a text for an attribute that the browser sends back as it is: escaped, no more."""
    return Markup.escape(value.encode("utf-8", "replace").decode())


def token(*parts: object) -> str:
    """Return values as one word that a form can carry; `parts_of` reads it.

    A form changes line ends, and an id may be any text.
    """
    return quote(json.dumps(parts), safe="")


def cut(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text[: 2 * _CUT_CHARACTERS].split())
    return line if len(line) <= _CUT_CHARACTERS else f"{line[:_CUT_CHARACTERS]}…"


def shown(text: str) -> str:
    """Return as much of a text as a page has room for."""
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters; the JSON API has all)"


def json_shown(value: object) -> str:
    """Return a JSON value, indented."""
    return shown(json.dumps(value, indent=2, ensure_ascii=False))


def time_of(text: str) -> datetime:
    """Return the moment that a JSON text names."""
    return datetime.fromisoformat(text)


def ago(text: str | None) -> Markup:
    """Return how far a moment is from now, with the moment itself for those who ask."""
    if not text:
        return Markup()
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(
        text, distance(time_of(text), datetime.now(UTC))
    )


def moment(text: str) -> Markup:
    """Return a moment to the second, in UTC."""
    at = time_of(text).astimezone(UTC)
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S}</time>').format(text, at)


def clock(text: str) -> str:
    """Return the hour and minute of a moment, in UTC."""
    return f"{time_of(text).astimezone(UTC):%H:%M}"


def between(first: str, last: str | None) -> str:
    """Return the time from one moment to another, or to now."""
    end = datetime.now(UTC) if last is None else time_of(last)
    return span(end - time_of(first))
