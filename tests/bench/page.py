"""The page that shows the tables, each between two comments that name it.

``<!-- table: durable -->`` stands before a table and ``<!-- end: durable -->`` behind it. The
command writes all that is between them, people write the rest of the page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

_MARKER = re.compile(r"^<!-- (?:table|end): (.*) -->$", re.MULTILINE)
_PLACE = re.compile(
    r"^<!-- table: (.*) -->\n(?P<text>(?:(?!<!-- (?:table|end): ).*\n)*)<!-- end: \1 -->$",
    re.MULTILINE,
)


class PageError(Exception):
    """The tables can't be written to the page."""


class UnreadablePageError(PageError):
    """The page is no file that can be read and written as text."""


class UnknownMarkerError(PageError):
    """A marker of the page names a table that the benchmark doesn't have."""


class BrokenMarkerError(PageError):
    """A table of the page has no end or no beginning, or more than one, or another one inside."""


class MissingMarkerError(PageError):
    """The page has no place for a table that is to be written."""


class Page:
    """A Markdown page with places for tables.

    Args:
        path: Its file.
        known: The names of the benchmark's tables.
    """

    def __init__(self, path: Path, known: Collection[str]) -> None:
        self._path = path
        self._known = known

    def check(self, names: Collection[str]) -> None:
        """Check that the page has a place for each of these tables.

        Raises:
            UnreadablePageError: The file is not there, or can't be read and written as text.
            UnknownMarkerError: It has a place for a table that is not known.
            BrokenMarkerError: Its markers don't come in pairs.
            MissingMarkerError: It has no place for one of the tables.
        """
        self._checked_text(names)

    def write(self, name: str, text: str) -> None:
        """Replace a table. The page may have been edited since it was checked.

        Raises:
            PageError: See `check`.
        """
        page = self._checked_text([name])
        [place] = (found for found in _PLACE.finditer(page) if found[1] == name)
        begin, end = place.span("text")
        self._path.write_text(f"{page[:begin]}\n{text}\n\n{page[end:]}", encoding="utf-8")

    def _checked_text(self, names: Collection[str]) -> str:
        page = self._text()
        markers = Counter(_MARKER.findall(page))
        places = {place[1] for place in _PLACE.finditer(page)}
        for name, count in markers.items():
            if name not in self._known:
                raise UnknownMarkerError(
                    f"{self._path} has a marker of {name!r}, which is no table: choose from"
                    f" {', '.join(self._known)}"
                )
            if count != len(("table", "end")) or name not in places:
                raise BrokenMarkerError(
                    f"{self._path} needs one line <!-- table: {name} --> and below it, before"
                    f" another table, one line <!-- end: {name} -->"
                )
        for name in names:
            if name not in places:
                raise MissingMarkerError(
                    f"{self._path} has no place for {name}: add the lines <!-- table: {name} -->"
                    f" and <!-- end: {name} -->, or choose other tables by --only"
                )
        return page

    def _text(self) -> str:
        try:
            with self._path.open("r+", encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadablePageError(f"{self._path} can't be read and written: {error}") from error
