"""The suite of shared storages: all tests of two engines on one place, in one class to inherit."""

from __future__ import annotations

from engine.testing.agreeing import AgreeingTests
from engine.testing.instructing import InstructingTests
from engine.testing.overseeing import OverseeingTests
from engine.testing.ruling import RulingTests
from engine.testing.taking import TakingTests
from engine.testing.telling import TellingTests
from engine.testing.throughput import SharedThroughputTests


class SharedSuite(
    AgreeingTests,
    InstructingTests,
    OverseeingTests,
    RulingTests,
    SharedThroughputTests,
    TakingTests,
    TellingTests,
):
    """Tests every promise of a storage that engines share. Inherit it beside `StorageSuite`.

    It needs the fixture ``new_storage`` of that, which is called twice with one path, and two more:

    * ``end_lease`` returns an async function that takes an open storage. It lets the other engines
      take this one for dead, and returns when they have freed its jobs.
    * ``lose_answer`` returns a function that takes an open storage and returns an async context
      manager. The next commit inside it is applied, and its answer is lost, so that it raises
      `CommitUnknownError`.
    """
