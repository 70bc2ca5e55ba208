"""The messages between the engine and a process that runs a handler.

All are plain data, in MessagePack: what comes from the process of a handler is never unpickled. A
handler that writes to the channel can thus tell lies about the jobs of its own process, and no
more.

::

    engine                          process
    SetUp      ───────────────────▶
               ◀───────────────────  Ready, or NotLoaded
    Run        ───────────────────▶
               ◀───────────────────  Began
               ◀───────────────────  any number of Reported and Logged; Asked
               ◀───────────────────  Returned, or Raised

The messages about a run have its number, which nobody can guess before the run: so what an earlier
run left in the channel is never taken for a later one's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from engine.storage.record import Record
from engine.worker.parent import Parent
from engine.worker.results import Result

LARGEST_NUMBER: Final = 2**53


class MainModule(Struct, frozen=True):
    """The main module of the program, which a process has to load for a handler in it."""

    name: str | None = None
    """Its name, if the program was started by ``python -m``."""
    path: str | None = None
    """Otherwise its file."""


class SetUp(Struct, frozen=True, tag=True):
    """The first message to a process: how to load the handler."""

    handler: bytes
    """The handler and the lifecycle, pickled. This direction is trusted."""
    main: MainModule | None
    arguments: list[str]
    """The program's, for modules that look at them."""
    levels: dict[str, int]
    """The levels of loggers, by name."""


class Run(Struct, frozen=True, tag=True):
    """Runs the handler once."""

    number: int
    record: bytes
    """The job, encoded; see `encoded`."""
    parent: bytes | None
    """The job whose follow-up it is, encoded."""


class Ready(Struct, frozen=True, tag=True):
    """The handler is loaded."""


class NotLoaded(Struct, frozen=True, tag=True):
    """The handler can't be loaded."""

    error: str
    traceback: str
    in_main: bool
    """Whether the main module failed, which runs again in the process."""


class Began(Struct, frozen=True, tag=True):
    """The process is about to call the handler: from now on the job may have had effects."""

    number: int


class Reported(Struct, frozen=True, tag=True):
    """Progress; the fields are the arguments of `Context.progress`."""

    number: int
    done: float
    total: float | None
    note: str | None


class Logged(Struct, frozen=True, tag=True):
    """A record of the logging module."""

    number: int
    """The run's; 0 if the record belongs to none."""
    name: str
    level: int
    message: str
    path: str
    line: int
    function: str | None
    at: float
    """Seconds since 1970."""
    thread: str | None
    traceback: str | None
    stack: str | None
    fields: dict[str, str | int | float | bool | None]
    """The ones that the program has added."""


class Asked(Struct, frozen=True, tag=True):
    """The handler has asked for an input, which ends the attempt."""

    number: int
    prompt: str
    """In its stored form."""
    deadline_seconds: float | None
    deadline_at: datetime | None


class Returned(Struct, frozen=True, tag=True):
    """The handler has returned."""

    number: int
    result: Result


class Raised(Struct, frozen=True, tag=True):
    """The handler has raised an exception, or its result can't be stored."""

    number: int
    error: str
    """In its stored form."""
    kinds: list[str]
    """The names of the exception's class and its base classes, in their order."""
    retryable: bool
    retry_after_seconds: float | None
    asks: bool
    """Whether it is the exception by which `Context.request_input` ends an attempt."""
    traceback: str
    disables_rule: bool = False


FromProcess: TypeAlias = Ready | NotLoaded | Began | Reported | Logged | Asked | Returned | Raised

_encoder = Encoder()
_set_up = Decoder(SetUp)
_run = Decoder(Run)
_record = Decoder(Record)
_parent = Decoder(Parent)
_from_process: Decoder[FromProcess] = Decoder(FromProcess)


def encoded(message: SetUp | Run | FromProcess | Record | Parent) -> bytes:
    """Return a message, a job or its parent as bytes."""
    return _encoder.encode(message)


def set_up_of(message: bytes) -> SetUp:
    """Decode the first message from the engine."""
    return _set_up.decode(message)


def run_of(message: bytes) -> Run:
    """Decode a later message from the engine."""
    return _run.decode(message)


def record_of(message: bytes) -> Record:
    """Decode a job."""
    return _record.decode(message)


def parent_of(message: bytes) -> Parent:
    """Decode the parent of a job."""
    return _parent.decode(message)


def from_process(message: bytes) -> FromProcess:
    """Decode a message from a process of a handler.

    Raises:
        ValueError: It is none. `msgspec.DecodeError` and `UnicodeDecodeError` are of this kind.
    """
    try:
        return _from_process.decode(message)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
