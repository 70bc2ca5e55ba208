"""Record checks: whether a record that a server gave back is one that an engine writes.

A server keeps the types of its columns, but any program with the rights may write there.
"""

from __future__ import annotations

from typing import Final

from msgspec import ValidationError
from msgspec.msgpack import Decoder, Encoder

from engine.domain.labels import read_labels
from engine.storage.json_columns import execution_problem, json_problem
from engine.storage.record import NO_EXECUTION, Record

_encode: Final = Encoder().encode
_decode: Final = Decoder(Record).decode
_JSON: Final = ("deadlines", "prompt", "answers", "trace")


def record_problem(record: Record) -> str | None:
    """Return the first problem of a record, as a sentence about the job; None for none."""
    try:
        _decode(_encode(record))
    except ValidationError as error:
        return f"a value can't be: {error}"
    execution = record.execution
    if record.labels is not None and (found := json_problem("labels", record.labels, read_labels)):
        return found
    if record.input is not None and (found := json_problem("input", record.input)):
        return found
    if execution is NO_EXECUTION:
        return None
    for name, due in (("deadline", execution.deadline()), ("retry", execution.retry())):
        if due.since is not None and (due.at is None or due.at < due.since):
            return f"its {name}_since is {due.since}, and its {name}_at {due.at}"
    texts = {column: getattr(execution, column) for column in _JSON}
    return execution_problem({column: text for column, text in texts.items() if text is not None})
