"""The table of all operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.operations.acts import ACTS
from engine.operations.bulk import EACH
from engine.operations.instructions import INSTRUCTIONS
from engine.operations.operation import Operation
from engine.operations.overviews import OVERVIEWS
from engine.operations.pruning import PRUNE
from engine.operations.reads import READS

OPERATIONS: Final[Mapping[str, Operation[Any]]] = {
    operation.name: operation
    for operation in (*READS, *OVERVIEWS, *ACTS, EACH, PRUNE, *INSTRUCTIONS)
}
"""By name, reads first."""
