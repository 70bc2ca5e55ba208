"""Kinds and labels: the names by which jobs of one sort, or of one customer, are found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta
from msgspec.json import Decoder

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import check_text

MAX_KIND_CHARACTERS: Final = 64
MAX_LABELS: Final = 16
MAX_LABEL_NAME_CHARACTERS: Final = 64
MAX_LABEL_CHARACTERS: Final = 256
DEFAULT_KIND: Final = "default"
KIND_FORM: Final = f"^[a-z0-9_.-]{{1,{MAX_KIND_CHARACTERS}}}$"

_is_kind: Final = re.compile(f"[a-z0-9_.-]{{1,{MAX_KIND_CHARACTERS}}}").fullmatch
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL_NAME_CHARACTERS)]
_Value = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL_CHARACTERS)]
_Labels = Annotated[dict[_Name, _Value], Meta(min_length=1, max_length=MAX_LABELS)]

read_labels: Final = Decoder(_Labels).decode
"""Returns the labels in their stored form; raises `msgspec.DecodeError` for any other text."""


def check_kind(value: object) -> str:
    """Return a kind if it is one.

    Raises:
        InvalidValueError: It is no text of 1 to 64 of ``a-z 0-9 _ . -``.
    """
    if not isinstance(value, str) or not _is_kind(value):
        raise InvalidValueError(
            "kind",
            f"must be 1 to {MAX_KIND_CHARACTERS} of a-z, 0-9, `_`, `.` and `-`, not {shown(value)}",
        )
    return str.__str__(value)


def labels_text(labels: Mapping[str, str] | None) -> str | None:
    """Return the stored form of labels: a JSON object of texts, sorted by name; None for none.

    Raises:
        InvalidValueError: They are no mapping of short texts, or more than 16.
    """
    kept = checked_labels(labels)
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else None


def checked_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels sorted by name.

    Raises:
        InvalidValueError: They are no mapping of short texts, or more than 16.
    """
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise InvalidValueError("labels", f"must map names to texts, not {shown(labels)}")
    if len(labels) > MAX_LABELS:
        raise InvalidValueError("labels", f"has {len(labels)} of them; {MAX_LABELS} are allowed")
    return dict(sorted(check_label(name, value) for name, value in labels.items()))


def check_label(name: object, value: object) -> tuple[str, str]:
    """Return a label's name and value if they are short texts.

    Raises:
        InvalidValueError: The name has not 1 to 64 characters or a ``=``, which ends it in a
            command line; or the value has not 1 to 256 characters.
    """
    checked = check_text("labels", name, MAX_LABEL_NAME_CHARACTERS)
    if "=" in checked:
        raise InvalidValueError(
            "labels", f"has a name with `=`: {shown(checked)}; use another sign"
        )
    return checked, check_text(f"labels[{checked!r}]", value, MAX_LABEL_CHARACTERS)
