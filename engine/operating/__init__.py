"""Operating: what an operator does to a place with jobs, from a program that is no engine of it.

The engine that has a file carries the operations out, by its control socket. A place that nobody
has open is opened for that by a **guest**: an engine with the lifecycle and the rules of follow-ups
that are kept in the place. It runs no handlers, no timers and no cleaner, and changes what the acts
change::

    place ──▶ the lifecycle that it keeps ──▶ guest ──▶ desk

Public: nothing.
"""

from engine.control.peer import this_operator
from engine.operating.desks import desk_at, lifecycle_in
from engine.operating.noting import note_at

__all__ = ["desk_at", "lifecycle_in", "note_at", "this_operator"]
