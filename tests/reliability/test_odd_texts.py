"""Row 24: odd texts are stored unchanged, or refused; none is ever interpreted.

Special characters of SQL and the shell, NULs, lone surrogates, control characters, and long ids.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import (
    InvalidValueError,
    Job,
    JobNotFoundError,
    JobStatus,
    MemoryStorage,
    Move,
    NewJob,
    SyncJobEngine,
)
from tests.tries import tries

ODD = [
    "'; DROP TABLE jobs; --",
    '" OR ""="',
    "%",
    "_",
    "\\",
    "$(reboot) `reboot` ${PATH}",
    "{0} %s {job_id}",
    "\r\n\t\x01\x1b[2J\x7f",
    "\ufeff\u202e\u200b\ufffe",
    "e\u0301",
    "é",
    " ",
    " padded ",
    "NULL",
    "None",
    "🜚" * 64,
    "\0",
    "a\0b",
    "\ud800",
    "a\udfffb",
    "\ud83d\ude00",
    "x" * 10_000,
    "",
]
texts = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(categories=None), max_size=300),
    st.text(st.sampled_from("'\";\\%_\0\ud800-/* "), max_size=20),
)


def _storable(text: str, shortest: int = 1, longest: int = 256) -> bool:
    """Return whether the text has an allowed size, no NUL, and a UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return shortest <= len(text) <= longest and "\0" not in text


@given(text=texts)
@settings(max_examples=tries(3_000), deadline=None)
def test_a_text_is_stored_as_given_or_refused(text: str) -> None:
    storage = MemoryStorage()
    with SyncJobEngine(storage, new_id=lambda: text) as engine:
        try:
            job = engine.create(text, payment_id=text, idempotency_key=text)
        except InvalidValueError:
            assert not _storable(text)
            assert engine.count() == 0
            return
        assert _storable(text)
        for other in (job, engine.get(text), *engine.get_many([text]), *engine.list_jobs().jobs):
            assert _texts(other) == [text] * 4
        assert engine.create(text, payment_id=text, idempotency_key=text) == job
        assert engine.find(payment_id=text) == engine.find(idempotency_key=text) == job
        engine.transition(text, JobStatus.RUNNING)
        assert engine.transition(text, JobStatus.COMPLETED, result=text).result == text
        assert [line.sequence for line in engine.history(text)] == [1, 2, 3]
    with SyncJobEngine(storage) as engine:
        assert engine.get(text).result == text
        assert _texts(engine.get(text)) == [text] * 4


def _texts(job: Job) -> list[Any]:
    return [job.job_id, job.input_hash, job.blockchain_identifier, job.idempotency_key]


@given(text=texts)
@settings(max_examples=tries(2_000), deadline=None)
def test_a_text_that_is_no_id_finds_no_job(text: str) -> None:
    expected = JobNotFoundError if _storable(text) else InvalidValueError
    with SyncJobEngine() as engine:
        engine.create_many([NewJob("hash")] * 3)
        with pytest.raises(expected):
            engine.get(text)
        with pytest.raises(expected):
            engine.history(text)
        with pytest.raises(expected):
            engine.transition_many([Move(text, JobStatus.RUNNING)])
        with pytest.raises(expected):
            engine.find(payment_id=text)
        with pytest.raises(expected):
            engine.find(idempotency_key=text)
        with pytest.raises(InvalidValueError):
            engine.list_jobs(after=text)
        if text not in set(JobStatus):
            with pytest.raises(InvalidValueError):
                engine.count(text)  # type: ignore[arg-type]
        assert engine.count() == engine.count(JobStatus.AWAITING_PAYMENT) == 3


@given(text=texts)
@settings(max_examples=tries(2_000), deadline=None)
def test_an_outcome_is_stored_as_given_or_refused(text: str) -> None:
    storable = _storable(text, 0, 65_536)
    with SyncJobEngine() as engine:
        for target, field in ((JobStatus.COMPLETED, "result"), (JobStatus.FAILED, "error")):
            job_id = engine.create("hash").job_id
            running = engine.transition(job_id, JobStatus.RUNNING)
            outcome: dict[str, Any] = {field: text}
            if storable:
                ended = engine.transition(job_id, target, **outcome)
                assert getattr(ended, field) == text
                assert engine.get(job_id) == ended
            else:
                with pytest.raises(InvalidValueError):
                    engine.transition(job_id, target, **outcome)
                assert engine.get(job_id) == running
