"""Fixtures of the proofs."""

from __future__ import annotations

import pytest

from engine.owner import recently_ended


@pytest.fixture
def ended_jobs_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each job leave the owner's table at its end, so that the storage is asked for it."""
    monkeypatch.setattr(recently_ended, "_LARGE_BYTES", 0)
