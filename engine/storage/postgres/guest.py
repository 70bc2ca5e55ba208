"""The database of a guest: of an engine that acts for an operator, and changes nothing else."""

from __future__ import annotations

from typing import ClassVar

from engine.storage.postgres.storage import PostgresStorage


class GuestDatabase(PostgresStorage):
    """Keeps jobs in a database that engines have opened before; its opening changes no job.

    While it is open, its engine is one of those of the database, as any other.
    """

    _fits: ClassVar = False
