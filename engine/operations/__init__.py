"""Operations: what an operator may ask of an engine and do with its jobs, as named calls with JSON.

One table has them all. The control socket, the dashboard, its JSON API and the command line offer
these same operations; each only brings their arguments in and their answers out::

    name, JSON object ──▶ arguments (checked) ──▶ messages to the owner ──▶ JSON

A **desk** carries them out: `EngineDesk` on an open engine of this process. An act says who makes
it (``by``), and leaves a line in the audit.

Public: nothing.
"""

from engine.operations.desk import Desk, EngineDesk
from engine.operations.operation import Operation
from engine.operations.table import OPERATIONS

__all__ = ["OPERATIONS", "Desk", "EngineDesk", "Operation"]
