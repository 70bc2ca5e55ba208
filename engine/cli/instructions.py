"""Instructions: what the commands tell engines, by the place that these share."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError

from engine.cli.arguments import add_place, kind
from engine.domain.exceptions import InvalidValueError
from engine.domain.models import PausedKind
from engine.domain.pauses import Pauses
from engine.domain.validation import MAX_REASON_CHARACTERS, check_text
from engine.operating import this_operator
from engine.portal.time import utc_now
from engine.storage.inspection import Place


def add_kind(parser: ArgumentParser) -> None:
    """Add the arguments ``PLACE`` and ``KIND``."""
    add_place(parser)
    parser.add_argument("kind", type=kind, metavar="KIND", help="the kind of the jobs")


def add_reason(parser: ArgumentParser) -> None:
    """Add the option ``--reason``."""
    parser.add_argument("--reason", type=_reason, metavar="TEXT", help="why, for those who ask")


def _reason(text: str) -> str:
    try:
        return check_text("reason", text, MAX_REASON_CHARACTERS, shortest=0)
    except InvalidValueError as error:
        raise ArgumentTypeError(error.problem) from error


def pause(place: Place, kind: str, reason: str | None) -> Pauses:
    """Pause a kind; return the pauses before.

    Raises:
        InvalidValueError: Too many kinds are paused.
        StorageInUseError: An engine has the file.
        StorageError: The place can't be read or written.
    """
    paused = PausedKind(kind=kind, at=utc_now(), by=this_operator(), reason=reason)
    return place.change_pauses(lambda pauses: pauses.with_this(paused))


def resume(place: Place, kind: str) -> Pauses:
    """Resume a kind; return the pauses before.

    Raises:
        StorageInUseError: An engine has the file.
        StorageError: The place can't be read or written.
    """
    return place.change_pauses(lambda pauses: pauses.without(kind))


def drain(place: Place, engine_id: int | None, *, draining: bool) -> bool:
    """Drain an engine, or let it claim again; return whether there is such a one that lives.

    Raises:
        InvalidValueError: A database has several engines, and no number is given.
        StorageInUseError: An engine has the file.
        StorageError: The place can't be read or written; or no engine has the file.
    """
    return place.drain(engine_id, draining=draining)
