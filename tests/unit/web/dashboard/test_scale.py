"""The dashboard over many jobs: a page takes no more statements than over few."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.dashboard_pages import PAGES, Place

pytestmark = pytest.mark.anyio


async def test_a_page_takes_as_many_statements_with_many_jobs_as_with_few(tmp_path: Path) -> None:
    async with (
        Place.opened(tmp_path / "few.db", 200) as few,
        Place.opened(tmp_path / "many.db", 5_000) as many,
    ):
        counts = {name: (await few.statements(name), await many.statements(name)) for name in PAGES}
    assert all(0 < least == most for least, most in counts.values()), counts
