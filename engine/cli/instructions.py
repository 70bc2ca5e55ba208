"""Instructions: what the commands tell engines, by a desk at their place."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio

from engine.cli.arguments import add_place, identifier
from engine.control.client import SocketDesk
from engine.domain.exceptions import InvalidValueError
from engine.domain.labels import check_kind
from engine.operating import desk_at, this_operator
from engine.storage.inspection import Place


def add_pausable(parser: ArgumentParser) -> None:
    """Add the arguments ``PLACE`` and ``NAME``, and the flag ``--gate``."""
    add_place(parser)
    parser.add_argument(
        "name", type=identifier, metavar="NAME", help="the kind, or with --gate the gate's name"
    )
    parser.add_argument("--gate", action="store_true", help="NAME is a gate's, not a kind")


def pausable(arguments: Namespace) -> tuple[str, str]:
    """Return what is to be paused or resumed: ``kind`` or ``gate``, and its name.

    Raises:
        InvalidValueError: It is no kind.
    """
    name: str = arguments.name
    return ("gate", name) if arguments.gate else ("kind", check_kind(name))


def tell(place: Place, operation: str, **arguments: Any) -> Any:  # noqa: ANN401 - JSON
    """Carry out an operation on a place; return its answer.

    Raises:
        InvalidValueError: An argument is wrong.
        EngineError: The place can't be opened, read or written; or its engine can't be reached.
    """
    return anyio.run(_tell, place, operation, arguments)


async def _tell(place: Place, operation: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
    async with desk_at(place) as desk:
        return await desk.do(operation, arguments, by=this_operator())


def drain(place: Place, engine_id: int | None, reason: str | None, *, undo: bool) -> None:
    """Drain an engine, or let it claim again.

    Raises:
        InvalidValueError: A database has several engines, and no number is given; no living engine
            has this number; or the place is a file, and a number is given.
        EngineUnavailableError: No engine has the file and listens.
        StorageError: The database can't be read or written.
    """
    if place.file is None and engine_id is None:
        raise InvalidValueError(
            "engine_id", "must be the number of an engine: `engine stats` lists them"
        )
    arguments = {"engine_id": engine_id, "undo": undo, "reason": reason}
    if place.file is None:
        tell(place, "drain", **arguments)
    else:
        anyio.run(_drain_engine_of, place.file, arguments)


async def _drain_engine_of(file: Path, arguments: Mapping[str, Any]) -> None:
    """Ask the engine that has a file: a guest would only drain itself."""
    async with SocketDesk(file) as desk:
        await desk.do("drain", arguments)
