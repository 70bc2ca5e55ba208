"""A folder where permissions count, whoever runs the test; and other users."""

import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.systems import skip_without_permissions

NOBODY = 65_534


@contextmanager
def without_privileges() -> Iterator[Path]:
    """Yield a folder in which permissions hold, even for the superuser."""
    skip_without_permissions()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)


@contextmanager
def in_child(
    function: Callable[[], object], user: int, *groups: int, living: bool = False
) -> Iterator[None]:
    """Run a function as another user, in a child of this process that ends without tidying up.

    Args:
        function: It fails if it raises.
        user: The user's id.
        groups: The ids of the user's own group, and of further ones.
        living: During the block the child lives, and has run the function; then it is killed.
    """
    ran, tell = os.pipe()
    child = os.fork()
    if not child:
        _become(user, *groups)
        try:
            kept = function()
            os.write(tell, b"1")
            while living:
                signal.pause()
            del kept  # until here, whatever the function has opened stays so
        except BaseException:  # noqa: BLE001 - the parent's test goes on from here
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(tell)
    try:
        assert os.read(ran, 1), f"failed as user {user}: see its traceback"
        yield
    finally:
        os.close(ran)
        if living:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _become(user: int, *groups: int) -> None:
    os.setgroups(groups)
    os.setgid(groups[0])
    os.setuid(user)
    os.umask(0o022)
