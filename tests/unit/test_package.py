"""The public surface: the exports of the package, and its public modules."""

import importlib
import re
from collections.abc import Iterator
from inspect import isfunction, isroutine
from itertools import chain
from pkgutil import walk_packages
from types import ModuleType
from typing import get_args, get_type_hints

import pytest

import engine
import engine.storage


def _order(name: str) -> tuple[bool, bool, str]:
    """Sort constants first, then classes, then functions, each in alphabetical order."""
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


def _types_in(hint: object) -> Iterator[type]:
    """Return the classes that a type hint names."""
    if isinstance(hint, type) and not get_args(hint):
        yield hint
    for argument in get_args(hint):
        yield from _types_in(argument)


def test_every_type_of_the_storage_protocol_is_exported_beside_it() -> None:
    waiting: list[type] = [engine.storage.Storage]
    found: set[type] = set()
    for kind in waiting:
        calls = [each for name, each in vars(kind).items() if isfunction(each) and name[0] != "_"]
        for hint in chain.from_iterable(get_type_hints(each).values() for each in (kind, *calls)):
            own = [each for each in _types_in(hint) if each.__module__.startswith("engine.storage")]
            waiting += set(own) - found
            found |= set(own)
    assert {"Change", "Execution", "Opened", "Table"} <= {each.__name__ for each in found}
    exported = {getattr(engine.storage, name) for name in engine.storage.__all__}
    assert found <= exported


@pytest.mark.parametrize("name", engine.__all__)
def test_every_public_name_has_a_docstring(name: str) -> None:
    value = getattr(engine, name)
    if isinstance(value, type) or isroutine(value):  # of others it stands in the source
        assert value.__doc__


PUBLIC_MODULES = {
    "engine.domain.exceptions",
    "engine.domain.models",
    "engine.repository.job_repo",
    "engine.services.job_service",
    "engine.telemetry",
}
PUBLIC_PACKAGES = {
    "engine",
    "engine.storage",
    "engine.storage.postgres",
    "engine.testing",
    "engine.web",
    "engine.web.dashboard",
    "engine.webhooks",
}
"""Their names stand in `__all__`; of the modules inside nothing is public."""


def test_a_module_is_public_or_stands_in_a_package_that_says_that_it_is_not() -> None:
    for found in walk_packages(engine.__path__, "engine."):
        name, inside = found.name, found.name.rpartition(".")[0]
        if name in PUBLIC_PACKAGES | PUBLIC_MODULES or inside in PUBLIC_PACKAGES - {"engine"}:
            continue
        if name.rpartition(".")[2].startswith("_"):
            continue
        package = importlib.import_module(name if found.ispkg else inside)
        said = re.search(r"Public: (.*?)[.;]", package.__doc__ or "")
        assert said, name
        public = set(re.findall(r"`(\w+)`", said[1]))
        expected = {
            each.rpartition(".")[2]
            for each in PUBLIC_MODULES
            if each.startswith(f"{package.__name__}.")
        }
        assert public == expected, name
        assert public or said[1] == "nothing"


def test_the_packages_docstring_names_what_is_public() -> None:
    named = set(re.findall(r"`(engine[\w.]*)`", engine.__doc__ or ""))
    assert named == PUBLIC_MODULES | PUBLIC_PACKAGES - {"engine"}


@pytest.mark.parametrize("name", sorted(PUBLIC_PACKAGES))
def test_public_packages_say_what_is_in_them(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    assert all(hasattr(module, each) for each in module.__all__)
