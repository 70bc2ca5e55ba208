"""Fixtures of all tests."""

import gc
import signal

import pytest

from tests.tries import thorough, tier

# A background shell makes the tests ignore Ctrl-C, and so the programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_QUICK = "not thorough"
"""The marker expression of pyproject.toml."""


def pytest_configure(config: pytest.Config) -> None:
    """Select the tests of the tier, unless the command line selects by a marker itself."""
    if tier() != "quick" and config.option.markexpr == _QUICK:
        config.option.markexpr = ""


@pytest.fixture(params=["asyncio", *thorough("trio")])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every async test on both backends; on trio not in the quick tier, but for some."""
    return str(request.param)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from visiting modules and tests again and again.

    Many tests collect; each time would visit hundreds of thousands of objects that stay. Hypothesis
    comes first, which looks at its import for who refers to random numbers, and can't see the
    objects that are kept from the collector.
    """
    import hypothesis  # noqa: F401, PLC0415 - pytest imports it at the end of a run otherwise

    gc.collect()
    gc.freeze()
