"""Fork inside an event loop whose engine is being awaited; the child gets a named error.

Usage: python -m tests.reliability.programs.fork_in_loop
"""

# ruff: noqa: T201 - a test reads the output

import asyncio
import os

from engine import EngineUnavailableError, JobEngine


async def main() -> None:
    """Fork once; the child calls without an event loop, which a fork does not copy."""
    async with JobEngine() as engine:
        await engine.create("parent")
        if (child := os.fork()) == 0:
            try:
                engine.count().send(None)
            except EngineUnavailableError:
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - nothing else is to run
        assert status == 0, status
        await engine.create("parent")
        assert await engine.count() == 2
    print("1 fork")


if __name__ == "__main__":
    asyncio.run(main())
