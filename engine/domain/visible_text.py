"""Visible texts: a stored text as it is shown to people, on a terminal or a page.

Two texts that look alike must be alike, and no text may obey anything but its reader. So a
character is shown as an escape if a terminal or a browser obeys it, if it turns the direction of a
text, or if nothing is seen of it. `str.isprintable` knows controls, formats, surrogates, unassigned
characters and all spaces but the plain one. It does not know those that fonts leave blank.
"""

from __future__ import annotations

import re
from typing import Final

_IGNORABLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
"""Unicode's Default_Ignorable_Code_Point, since 6.3, but for U+FE0F: soft hyphens, Hangul fillers,
variation selectors, tags, and what may become one."""
_BLANK: Final = "\u2800\U00013441\U00013442\U00016fe4\U0001d159"
"""Characters that are symbols or marks by their category, and have no ink: the empty Braille
pattern, the Egyptian blanks, the Khitan filler, and the note without a head."""
_SYMBOLS: Final = (
    "\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u2328\u23cf\u23ed-\u23ef\u23f1\u23f2\u23f8-\u23fa"
    "\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb\u25fc\u2600-\u2604\u260e\u2611\u2618\u261d\u2620-\u27bf\u2934"
    "\u2935\u2b05-\u2b07\u3030\u303d\u3297\u3299\U0001f170-\U0001f202\U0001f237\U0001f321-\U0001f6f3"
)
"""Characters that may be drawn as emoji, and are texts by default: those of Unicode's
emoji-variation-sequences, and some beside them."""
_AS_EMOJI: Final = "\ufe0f"
"""The variation selector that draws such a character as an emoji, which is seen."""
_UNSEEN: Final = re.compile(f"[{_IGNORABLE}{_BLANK}]|(?<![{_SYMBOLS}]){_AS_EMOJI}")
_UNIT: Final = re.compile(f"[{_SYMBOLS}]{_AS_EMOJI}|.", re.DOTALL)


def is_visible(text: str) -> bool:
    """Return whether all of a text is seen as it is."""
    return text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None)


def visible(text: str, *, kept: str = "") -> str:
    """Return a text with what is not seen as escapes.

    Args:
        text: The text.
        kept: Characters that stay, such as line ends where a text may have lines.
    """
    if is_visible(text.translate(dict.fromkeys(map(ord, kept), " "))):
        return text
    units = _UNIT.findall(text)
    return "".join(
        each if each in kept or is_visible(each) else each.encode("unicode_escape").decode()
        for each in units
    )
