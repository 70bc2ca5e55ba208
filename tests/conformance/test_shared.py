"""The plain shared storage of the proofs keeps the promises about rules and instructions."""

from __future__ import annotations

from typing import Any

import pytest

from engine.testing import NewStorage
from engine.testing.instructing import InstructingTests
from engine.testing.ruling import RulingTests
from engine.testing.shared_fixtures import EndLease
from tests.proof.shared_storage import Place, PlainShared


class TestPlainShared(RulingTests, InstructingTests):
    @pytest.fixture
    def new_storage(self) -> NewStorage:
        place = Place()
        return lambda _path: PlainShared(place, len(place.engines))

    @pytest.fixture
    def end_lease(self) -> EndLease:
        async def end(storage: Any) -> None:  # noqa: ANN401 - a plain one
            storage.place.declare_dead(storage.number)

        return end
