"""Serve the dashboard of a place to a browser."""

from __future__ import annotations

import os
import socket
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from secrets import token_urlsafe
from typing import Any, Final

import anyio

from engine.cli.arguments import add_place, whole_number
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.operating import desk_at, this_operator
from engine.operations import Desk, EngineDesk

_PORT: Final = 8700
_LARGEST_PORT: Final = 65_535
_TOKEN: Final = "ENGINE_TOKEN"  # noqa: S105 - the name of a variable


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``serve``."""
    add_place(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen; by default on this machine alone. Anywhere else put a proxy with "
        "TLS before it",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=_PORT,
        metavar="N",
        help=f"{_PORT} by default; 0 for any that is free",
    )


def _port(text: str) -> int:
    port = whole_number(0)(text)
    if port > _LARGEST_PORT:
        raise ArgumentTypeError(f"must be up to {_LARGEST_PORT}, not {port:,}")
    return port


def serve(arguments: Namespace, console: Console) -> Exit:
    """Serve the dashboard until Ctrl-C."""
    try:
        import uvicorn  # noqa: PLC0415 - an extra

        import engine.web.dashboard  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        console.note("engine: serve needs some packages: pip install 'engine[serve]'")
        return Exit.USAGE
    try:
        listener = socket.create_server((arguments.host, arguments.port))
    except OSError as error:
        console.note(f"engine: can't listen on {arguments.host}:{arguments.port}: {error}")
        return Exit.UNREADABLE
    with listener:
        anyio.run(_serve, arguments, console, uvicorn, listener)
    return Exit.OK


async def _serve(
    arguments: Namespace,
    console: Console,
    uvicorn: Any,  # noqa: ANN401 - the module, an extra
    listener: socket.socket,
) -> None:
    async with desk_at(arguments.place) as desk:
        given = os.environ.get(_TOKEN)
        token = given or token_urlsafe()
        config = uvicorn.Config(_app(desk, token), lifespan="off", log_level="warning")
        _tell(arguments, console, desk, listener, None if given else token)
        await uvicorn.Server(config).serve(sockets=[listener])


def _app(desk: Desk, token: str) -> Any:  # noqa: ANN401 - an ASGI app
    from engine.web.dashboard import Dashboard, token_access  # noqa: PLC0415 - an extra

    return Dashboard(desk, authorize=token_access(token, who=this_operator()))


def _tell(
    arguments: Namespace,
    console: Console,
    desk: Desk,
    listener: socket.socket,
    token: str | None,
) -> None:
    """Tell where the dashboard is, and how to get in."""
    host, port = listener.getsockname()[:2]
    console.line(f"the dashboard of {arguments.place.name}: http://{host}:{port}/")
    console.line(f"token: {_TOKEN} of the environment" if token is None else f"token: {token}")
    console.flush()
    if arguments.place.file is not None and isinstance(desk, EngineDesk):
        console.note("no engine has the file, and none can open it before this ends")


COMMAND: Final = Command(
    name="serve",
    help_order=40,
    help="serve the dashboard of a place to a browser, until Ctrl-C",
    add_arguments=add_arguments,
    run=serve,
    examples=("serve jobs.db", "serve postgresql://localhost/jobs --port 9000"),
)
