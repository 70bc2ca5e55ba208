"""The handled kinds of a worker: the handler of each, ready to run, with its rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.labels import DEFAULT_KIND, check_kind
from engine.domain.lifecycle import Lifecycle
from engine.worker.handler import Handler, HandlerFunction
from engine.worker.options import Options, Rules
from engine.worker.runner import Runner

MAX_KINDS: Final = 1_000

AnyHandler: TypeAlias = HandlerFunction | Handler[Any, Any]
Handlers: TypeAlias = AnyHandler | Mapping[str, AnyHandler]
"""The handler of the kind ``default``, or handlers by kind."""


@dataclass(frozen=True, slots=True)
class Handled:
    """The handler of a kind, in a worker."""

    runner: Runner
    rules: Rules


def handled_kinds(
    handlers: object, options: Options, lifecycle: Lifecycle[Any]
) -> dict[str, Handled]:
    """Return the handlers of a worker by kind.

    Args:
        handlers: As they were given to the worker.
        options: The worker's: its handlers' defaults.
        lifecycle: The lifecycle of the jobs.

    Raises:
        InvalidValueError: There are no kinds, or more than 1,000; or one is no kind, or its handler
            is none, or can't work.
    """
    if not isinstance(handlers, Mapping):
        return {DEFAULT_KIND: _handled(handlers, options, lifecycle)}
    if not 1 <= len(handlers) <= MAX_KINDS:
        raise InvalidValueError(
            "handler", f"must have 1 to {MAX_KINDS:,} kinds, and has {len(handlers):,}"
        )
    handled: dict[str, Handled] = {}
    for given, handler in handlers.items():
        kind = check_kind(given)
        try:
            handled[kind] = _handled(handler, options, lifecycle)
        except InvalidValueError as error:
            raise InvalidValueError(f"{error.field} of {shown(kind)}", error.problem) from error
    return handled


def _handled(handler: object, options: Options, lifecycle: Lifecycle[Any]) -> Handled:
    given = handler if isinstance(handler, Handler) else Handler(handler)  # type: ignore[call-overload]
    rules = given.options_over(options).rules(given.retry)
    return Handled(Runner(given.function, lifecycle, rules.processes), rules)
