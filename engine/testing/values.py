"""Values that a storage may get wrong: odd texts and times, and a lifecycle with odd statuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from engine.domain.lifecycle import Lifecycle
from engine.domain.validation import MAX_INTEGER, MAX_RESULT_CHARACTERS
from engine.storage.record import NO_EXECUTION, Execution


class OddStatus(StrEnum):
    """Statuses with special characters of SQL; two differ only in case."""

    WAITING = "waiting % of \u201efünf\u201c"
    RUNNING = "running'; DROP TABLE jobs; --"
    DONE = "done"
    LOST = "Done"


ODD_LIFECYCLE: Final = Lifecycle(
    OddStatus,
    {
        OddStatus.WAITING: {OddStatus.RUNNING},
        OddStatus.RUNNING: {OddStatus.WAITING, OddStatus.DONE, OddStatus.LOST},
        OddStatus.DONE: set(),
        OddStatus.LOST: set(),
    },
    initial=OddStatus.WAITING,
    running=OddStatus.RUNNING,
    success={OddStatus.DONE},
    failure={OddStatus.LOST},
)

# All different, some only a little: a storage must not fold case, trim or normalise.
TEXTS: Final = (
    *("a", "A", " a", "a ", "á", "a\u0301", "ß", "ss", "İ", "i", "ﬁ", "fi"),
    *("'", "''", '"', "`", "\\", "\\'", "%", "_", "a%", "?", ":a", "$1", ";", "--", "/* */"),
    *("x'; DROP TABLE jobs; --", '") OR 1=1 --', "{}", "[null]", "<b>", "&amp;"),
    *("NULL", "None", "0", "00", "1", "1.0", "1e0", "true", "2026-01-01T00:00:00Z"),
    *(" ", "\t", "\n", "\r\n", "a\nb", "\x01", "\x1a", "\x7f", "\x85", "\xa0"),
    *("\u200b", "\u202e", "\u2028", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "👩‍🚀", "नमस्ते"),
    *("x" * 256, "🐍" * 256),
)

# For results and errors, where None differs from an empty text.
OUTCOMES: Final = (None, "", " ", *TEXTS)

LONGEST_RESULT: Final = ("a'\u0301ß🐍\n" * MAX_RESULT_CHARACTERS)[:MAX_RESULT_CHARACTERS]

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

TIMES: Final = (
    datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(999, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 100_000, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
)

_FIELDS: Final[dict[str, tuple[Any, ...]]] = {
    "priority": (1, -1, MAX_INTEGER, -MAX_INTEGER),
    "deadlines": ("", "{}"),
    "deadline_at": TIMES,
    "attempt": (1, MAX_INTEGER),
    "failures": (1, MAX_INTEGER),
    "token": ("", "None"),
    "retry_at": TIMES,
    "prompt": ("", "{}"),
    "answers": ("", "{}"),
    "cancel_reason": ("", "None"),
    "result_form": ("", "json"),
    "trace": ("", "{}"),
    "deaths": (1, MAX_INTEGER),
    "died_attempt": (1, MAX_INTEGER),
    "deadline_since": TIMES,
    "retry_since": TIMES,
}

EXECUTIONS: Final = (
    # One field at a time.
    NO_EXECUTION,
    *(Execution(**{field: value}) for field, values in _FIELDS.items() for value in values),
    # All fields, with other texts side by side each time.
    *(
        Execution(
            number,
            text,
            TIMES[number % len(TIMES)],
            number + 1,
            number + 2,
            TEXTS[number - 1],
            TIMES[-1 - number % len(TIMES)],
            TEXTS[number - 2],
            TEXTS[number - 3],
            TEXTS[number - 4],
            TEXTS[number - 5],
            TEXTS[number - 6],
            number + 3,
            number + 4,
            TIMES[(number + 1) % len(TIMES)],
            TIMES[(number + 2) % len(TIMES)],
        )
        for number, text in enumerate(TEXTS)
    ),
)

INPUTS: Final = (None, "", "null", "{}", *TEXTS)
