"""The PostgreSQL storage: any number of engines over one database."""

from engine.storage.postgres.storage import PostgresStorage

__all__ = ["PostgresStorage"]
