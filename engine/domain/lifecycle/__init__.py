"""Lifecycles: statuses and moves as data, and every rule of a move in one place.

A lifecycle is a finite state machine without actions. Its statuses are the members of a string
enum. Exactly one is initial, and in exactly one a handler is at work: a job is born in one of these
two. A status without moves is final, and every final status means either success or failure.

A job changes its status in two ways. A caller requests a move: `Lifecycle.validate` looks it up in
the table of moves. Or an `Event` happens, such as a cancel or the return of the handler:
`Lifecycle.after` returns the next status. Both raise the same error if there is none. No other
module reads the tables, and they say nothing about holders, versions and retries.

Building a lifecycle checks its tables, because a mistake could leave a job stuck for ever: every
status has a row, can be reached from a birth or is retired, and can reach a final one.

::

    Lifecycle: the rules
      ├──▶ Event: what moves a job without a caller naming the next status
      ├──▶ checks: can the moves work?
      ├──▶ event_tables: where does each event lead?
      ├──▶ diagram: the drawing
      ◀──▶ description: the lifecycle as data, for a storage, and back
      └──▶ Tables: what the others read

Public: nothing; `engine` exports the names of users.
"""

from engine.domain.lifecycle.checks import MAX_STATUSES
from engine.domain.lifecycle.description import description, differences, lifecycle_of
from engine.domain.lifecycle.events import Event
from engine.domain.lifecycle.lifecycle import Lifecycle
from engine.domain.lifecycle.tables import Status

__all__ = [
    "MAX_STATUSES",
    "Event",
    "Lifecycle",
    "Status",
    "description",
    "differences",
    "lifecycle_of",
]
