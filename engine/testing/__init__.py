"""The conformance suite: what every storage promises, as tests to run over a storage of your own.

It needs pytest and trio: ``pip install 'engine[testing]'``. In a test module::

    import pytest
    from engine.testing import StorageSuite

    class TestMyStorage(StorageSuite):
        @pytest.fixture
        def new_storage(self):
            return MyStorage  # called with a path, as often as a test opens the storage

`StorageSuite` says what ``new_storage`` has to be, and how a storage declares what it can't do.
"""

try:
    import pytest
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "engine.testing needs pytest: pip install 'engine[testing]'", name=missing.name
    ) from missing

# To be said before the modules are imported: then a failing assert shows its values.
for _module in ("store", "committing", "reopening", "removing", "backing_up", "engines"):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from engine.testing.fixtures import NewStorage  # noqa: E402 - see above
from engine.testing.suite import StorageSuite  # noqa: E402 - see above

__all__ = ["NewStorage", "StorageSuite"]
