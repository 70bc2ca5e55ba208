"""The model of a disk: the remains after a power loss, operation by operation."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.reliability.disk.recording import (
    FOLDER,
    SECTOR_BYTES,
    Link,
    Operation,
    Recording,
    Sync,
    Truncate,
    Unlink,
    Unsynced,
    Write,
)

OLD = b"old!"
NEW = b"new."


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    (tmp_path / "file").write_bytes(OLD)
    return Recording(tmp_path)


def _left(recording: Recording, unsynced: Unsynced, operations: Sequence[Operation]) -> object:
    """Return the remains of the file after some operations; None if it has no name."""
    for operation in operations:
        recording.add(operation)
    return recording.image(recording.moment, unsynced, Random(1)).get("file")


FILE = 1
WRITE = Write(FILE, 0, NEW)
SYNC = Sync(FILE)
FAILED = Sync(FILE, succeeded=False)


@pytest.mark.parametrize(
    ("operations", "left"),
    [
        ([], OLD),
        ([WRITE], OLD),
        ([WRITE, SYNC], NEW),
        ([WRITE, FAILED], OLD),
        ([WRITE, FAILED, SYNC], OLD),
        ([WRITE, FAILED, WRITE, SYNC], NEW),
        ([WRITE, SYNC, FAILED], NEW),
        ([WRITE, Sync(FILE + 1), Sync(FOLDER)], OLD),
        ([Write(FILE, 6, NEW), SYNC], OLD + b"\0\0" + NEW),
        ([Truncate(FILE, 1)], OLD),
        ([Truncate(FILE, 1), SYNC], OLD[:1]),
        ([Truncate(FILE, 5), SYNC], OLD + b"\0"),
        ([Unlink("file")], OLD),
        ([Unlink("file"), SYNC], OLD),
        ([Unlink("file"), Sync(FOLDER)], None),
        ([Link("other", FILE, before="file")], OLD),
        ([Link("other", FILE, before="file"), Sync(FOLDER)], None),
    ],
)
def test_only_what_is_synced_is_durable(
    recording: Recording, operations: list[Operation], left: bytes | None
) -> None:
    assert _left(recording, Unsynced.LOST, operations) == left


def test_a_killed_process_leaves_everything(recording: Recording) -> None:
    assert _left(recording, Unsynced.KEPT, [WRITE, FAILED, Truncate(FILE, 2)]) == NEW[:2]


def test_an_image_shows_its_moment(recording: Recording) -> None:
    recording.add(WRITE)
    recording.add(SYNC)
    for moment, left in [(0, OLD), (1, OLD), (2, NEW)]:
        assert recording.image(moment, Unsynced.LOST, Random(1))["file"] == left


def test_half_of_what_is_not_synced_is_there(recording: Recording) -> None:
    letters = [Write(FILE, place, b"X") for place in range(1_000)]
    left = _left(recording, Unsynced.HALF, letters)
    assert isinstance(left, bytes)
    assert 400 < left.count(b"X") < 600


def test_a_write_is_torn_at_its_sectors(recording: Recording) -> None:
    torn = Write(FILE, 100, b"X" * SECTOR_BYTES * 1_000)
    left = _left(recording, Unsynced.TORN, [torn])
    assert isinstance(left, bytes)
    sectors = [left[at : at + SECTOR_BYTES] for at in range(SECTOR_BYTES, len(left), SECTOR_BYTES)]
    assert {bytes([sector[0]]) for sector in sectors} == {b"X", b"\0"}
    assert all(len(set(sector)) == 1 for sector in sectors)


def test_a_name_is_given_to_a_new_file_after_its_old_one_is_gone(recording: Recording) -> None:
    recording.add(Unlink("file"))
    number = recording.file("file")
    assert number == FILE + 1
    left = _left(recording, Unsynced.LOST, [Write(number, 0, NEW), Sync(number), Sync(FOLDER)])
    assert left == NEW
