"""The plain shared storage of the proofs keeps the promises about rules and follow-ups."""

from __future__ import annotations

import pytest

from engine.testing import NewStorage
from engine.testing.ruling import RulingTests
from tests.proof.shared_storage import Place, PlainShared


class TestPlainShared(RulingTests):
    @pytest.fixture
    def new_storage(self) -> NewStorage:
        place = Place()
        return lambda _path: PlainShared(place, len(place.engines))
