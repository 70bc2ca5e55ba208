"""What every test may use."""

import signal

import pytest

# A shell that starts tests in the background has them ignore Ctrl-C; what they start would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run everything async on both backends."""
    return str(request.param)
