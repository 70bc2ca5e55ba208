"""Values that a storage may get wrong: odd texts and times, and a lifecycle with odd statuses.

Texts that engines write as JSON are JSON here, too: a storage may refuse others.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from engine.domain.lifecycle import Lifecycle
from engine.domain.validation import MAX_INPUT_CHARACTERS, MAX_PRIORITY, MAX_RESULT_CHARACTERS
from engine.storage.record import MAX_NUMBER, NO_EXECUTION, Execution, Origin


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

STATUS_OUTCOMES: Final = ODD_LIFECYCLE.status_outcomes
RUNNING: Final = ODD_LIFECYCLE.running_value

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

LONGEST_INPUT: Final = f'"{"ß🐍" * (MAX_INPUT_CHARACTERS // 2 - 1)}"'

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


def json_of(value: object) -> str:
    """Return a value as engines write JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def prompt_of(text: str) -> str:
    """Return an open question with a text."""
    fields = {"prompt_id": text, "name": text, "question": text, "json_schema": {text: text}}
    return json_of({**fields, "refusal": text})


_FIELDS: Final[dict[str, tuple[Any, ...]]] = {
    "priority": (1, -1, MAX_PRIORITY, -MAX_PRIORITY),
    "deadlines": ("{}",),
    "deadline_at": TIMES,
    "attempt": (1, MAX_NUMBER),
    "failures": (1, MAX_NUMBER),
    "token": ("", "None"),
    "retry_at": TIMES,
    "prompt": (prompt_of(""),),
    "answers": ("{}",),
    "cancel_reason": ("", "None"),
    "result_form": ("json",),
    "trace": ("{}",),
    "deaths": (1, MAX_NUMBER),
    "died_attempt": (1, MAX_NUMBER),
    "claimed_at": TIMES,
    "not_before": TIMES,
    "last_error": ("", "None"),
    "cancelled_by": ("", "None"),
    "repeat_of": ("a", "None"),
    "repeated_by": ("a", "None"),
}

EXECUTIONS: Final = (
    # One field at a time.
    NO_EXECUTION,
    *(Execution(**{field: value}) for field, values in _FIELDS.items() for value in values),
    *(Execution(deadline_at=TIMES[-1], deadline_since=since) for since in TIMES),
    *(Execution(retry_at=TIMES[-1], retry_since=since) for since in TIMES),
    # All fields, with other texts side by side each time.
    *(
        Execution(
            priority=number,
            attempt=number + 1,
            failures=number + 2,
            token=TEXTS[number - 1],
            claimed_at=TIMES[number % len(TIMES)],
            deadlines=json_of({text: number + 0.5}),
            deadline_at=TIMES[number % len(TIMES)],
            retry_at=TIMES[-1 - number % len(TIMES)],
            prompt=prompt_of(TEXTS[number - 2]),
            answers=json_of({TEXTS[number - 3]: TEXTS[number - 3]}),
            cancel_reason=TEXTS[number - 4],
            result_form="json",
            trace=json_of({"traceparent": TEXTS[number - 6]}),
            deaths=number + 3,
            died_attempt=number + 4,
            deadline_since=TIMES[0],
            retry_since=TIMES[0],
            not_before=TIMES[-1 - number % len(TIMES)],
            last_error=TEXTS[number - 7],
            cancelled_by=TEXTS[number - 8],
            repeat_of=TEXTS[number - 9],
            repeated_by=TEXTS[number - 10],
        )
        for number, text in enumerate(TEXTS)
    ),
)

ORIGINS: Final = (
    None,
    Origin(first_id="a"),
    Origin("a", 1, "a"),
    Origin("a", MAX_NUMBER, "b", "c"),
    # All fields, with other texts side by side each time: of follow-ups, and of repeats of them.
    *(
        Origin(text, number, TEXTS[number - 1], TEXTS[number - 2] if number % 2 else None)
        for number, text in enumerate(TEXTS)
    ),
)

INPUTS: Final = (None, "null", "{}", *map(json_of, TEXTS))
