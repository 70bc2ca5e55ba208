"""Proofs by many tries: models, recorded histories and explored schedules."""

import pytest

# A plain `assert` in them shows the difference, as in a test.
for module in ("comparison", "scenario"):
    pytest.register_assert_rewrite(f"{__name__}.{module}")
