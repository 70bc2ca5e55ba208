"""Loading a handler in a process: by the name of its module, as pickle finds functions.

A handler in the main module needs that module in the process, too. It is loaded there under another
name, so that ``if __name__ == "__main__":`` keeps the program itself from running again. A handler
in any other module leaves the main module alone.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any, Final

from engine.domain.exceptions import HandlerProcessError, InvalidValueError, message_of
from engine.domain.lifecycle import Lifecycle
from engine.worker.processes.messages import MainModule, SetUp

_LOADED_MAIN: Final = "__mp_main__"
"""The name of a main module that was loaded from its file; `multiprocessing` uses it, too."""
_MAIN_NAMES: Final = frozenset({"__main__", _LOADED_MAIN})

MAX_BOUND_BYTES: Final = 16_777_216
"""Of the pickled handler: the values that a `partial` or an object takes along."""

_is_loading = False


class MainError(Exception):
    """The main module failed when it was loaded in a process; ``__cause__`` is its error."""


def set_up_for(
    function: Callable[..., Any], lifecycle: Lifecycle[Any], levels: dict[str, int]
) -> SetUp:
    """Return the message that lets a process load a handler.

    Raises:
        InvalidValueError: The handler, the enum of the statuses or the main module can't be found
            by its name.
    """
    try:
        pickle.dumps(lifecycle)
    except Exception as error:
        raise InvalidValueError(
            "handler",
            f"can't run in processes, because {lifecycle.statuses.__qualname__} is no class of a "
            f"module: {message_of(error)}",
        ) from error
    try:
        handler = pickle.dumps((function, lifecycle))
    except Exception as error:
        raise InvalidValueError(
            "handler",
            f"that runs in processes must be a function of a module: {message_of(error)}",
        ) from error
    if len(handler) > MAX_BOUND_BYTES:
        raise InvalidValueError(
            "handler",
            f"binds {len(handler):,} bytes, and may bind {MAX_BOUND_BYTES:,} to run in processes: "
            "load large values in its module",
        )
    import pickletools  # noqa: PLC0415 - it takes a hundredth of `import engine`

    named = {str(argument) for _, argument, _ in pickletools.genops(handler)}
    main = None if named.isdisjoint(_MAIN_NAMES) else _main_module()
    return SetUp(handler, main, [str(each) for each in sys.argv], levels)


def _main_module() -> MainModule:
    """Return the main module of this program.

    Raises:
        InvalidValueError: It has no file.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in _MAIN_NAMES:
        return MainModule(name=spec.name)
    path: object = getattr(main, "__file__", None)
    if isinstance(path, str) and os.path.isfile(path):  # noqa: PTH113 - a path, as text
        return MainModule(path=os.path.abspath(path))  # noqa: PTH100 - as above
    raise InvalidValueError(
        "handler",
        "can't run in processes, because its program is a notebook, standard input, `python -c` or "
        "an archive: put the handler, and the enum of its statuses, into a module, and import it",
    )


def import_paths() -> list[str]:
    """Return `sys.path` for a process, which has another idea of the current directory."""
    paths: list[object] = list(sys.path)
    return [os.path.abspath(each) for each in paths if isinstance(each, str)]  # noqa: PTH100


def load(set_up: SetUp) -> tuple[Callable[..., Any], Lifecycle[Any]]:
    """Load the handler and the lifecycle, in a process.

    Raises:
        MainError: The main module failed.
        BaseException: Any other error of the modules that it needs.
    """
    global _is_loading  # noqa: PLW0603 - a process loads one handler, once
    _is_loading = True
    sys.argv = set_up.arguments
    if set_up.main is not None:
        try:
            _load_main(set_up.main)
        except BaseException as error:
            raise MainError from error
    function, lifecycle = pickle.loads(set_up.handler)  # noqa: S301 - from the engine
    _is_loading = False
    return function, lifecycle


def _load_main(main: MainModule) -> None:
    if main.name is not None:
        sys.modules["__main__"] = import_module(main.name)
        return
    loader = SourceFileLoader(_LOADED_MAIN, main.path or "")
    spec = spec_from_loader(_LOADED_MAIN, loader)
    assert spec is not None  # noqa: S101 - for types: it has a loader
    module = module_from_spec(spec)
    module.__spec__ = None  # as the interpreter has it; `multiprocessing` looks at it, too
    sys.modules["__main__"] = sys.modules[_LOADED_MAIN] = module
    # Not `exec_module`, which would leave a compiled file beside the program.
    code = loader.source_to_code(loader.get_data(loader.path), loader.path)
    exec(code, module.__dict__)  # noqa: S102 - what an import does


def is_loading() -> bool:
    """Return whether this process is just loading the handler of a worker."""
    return _is_loading


def check_not_loading() -> None:
    """Refuse to start a worker while a process of a worker loads its handler.

    Raises:
        HandlerProcessError: It does.
    """
    if _is_loading:
        raise HandlerProcessError(
            "a worker can't start while a process loads the module of a handler: start it in a "
            "function that the module does not call when it is imported"
        )


def names_of(error: BaseException, main: MainModule | None) -> list[str]:
    """Return the names of an exception's class and its base classes.

    A class of the main module has the name that the program itself gives it, and its real name.
    """
    mains = {*_MAIN_NAMES, None if main is None else main.name}
    names = []
    for kind in type(error).__mro__:
        module = str(kind.__module__)  # a class may say anything
        if module in mains:
            names.append(f"__main__.{kind.__qualname__}")
        names.append(f"{module}.{kind.__qualname__}")
    return names
