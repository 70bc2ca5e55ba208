"""The public surface: what the package exports, under the names that are promised."""

import importlib
from types import ModuleType

import pytest

import engine


def _order(name: str) -> tuple[bool, bool, str]:
    """Constants first, then classes, then functions; each in the alphabet's order."""
    return (not name.isupper(), not name[0].isupper(), name)


def test_all_is_sorted_and_says_nothing_twice() -> None:
    assert engine.__all__ == sorted(set(engine.__all__), key=_order)


def test_everything_in_all_is_there_and_nothing_else_is_public() -> None:
    public = {
        name
        for name, value in vars(engine).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(engine.__all__)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("engine.domain.models", ["Job", "JobStatus", "LEGAL_TRANSITIONS", "validate_transition"]),
        ("engine.domain.exceptions", ["JobNotFoundError", "InvalidStateTransitionError"]),
        ("engine.repository.job_repo", ["InMemoryJobRepository"]),
        ("engine.services.job_service", ["create_job", "advance_job_state"]),
    ],
)
def test_the_acceptance_suites_names_are_where_they_import_them_from(
    module: str, names: list[str]
) -> None:
    assert all(hasattr(importlib.import_module(module), name) for name in names)


@pytest.mark.parametrize("name", engine.__all__)
def test_every_public_name_has_a_docstring(name: str) -> None:
    if not name.isupper():
        assert getattr(engine, name).__doc__
