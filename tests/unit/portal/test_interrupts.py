"""A Ctrl-C while a task runs, told from what a task raises by itself."""

import pytest

from engine.portal.interrupts import is_ctrl_c
from tests.systems import needs_interrupts
from tests.unit.portal.starting import started

SECONDS = 20
CUT = "the attempt was interrupted: True\n"
MAIN = "the main task was interrupted\n"


@needs_interrupts
@pytest.mark.parametrize(
    ("backend", "where", "protected", "output"),
    [
        # The runner cancels the main task at the first one, and raises at the second.
        ("asyncio", "task", "", CUT + MAIN),
        ("asyncio", "task", "protected", CUT + MAIN),
        ("asyncio", "child", "", CUT + MAIN),
        # Whoever swallows it has swallowed it.
        ("trio", "task", "", CUT),
        ("trio", "task", "protected", "the attempt went on\n" + MAIN),
        ("trio", "child", "protected", CUT),
    ],
)
def test_a_ctrl_c_is_known_wherever_it_is_raised(
    backend: str, where: str, protected: str, output: str
) -> None:
    arguments = filter(None, [backend, where, protected])
    with started("interrupted_task", *arguments) as process:
        assert process.communicate(timeout=SECONDS) == (output, "")


def test_what_a_task_raises_by_itself_is_no_ctrl_c() -> None:
    for kind in (KeyboardInterrupt, ValueError):
        assert not is_ctrl_c(kind())
        with pytest.raises(kind) as raised:
            raise kind
        assert not is_ctrl_c(raised.value)
        assert not is_ctrl_c(BaseExceptionGroup("two", [ValueError(), raised.value]))
