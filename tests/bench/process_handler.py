"""What processes call. It imports next to nothing, because each of them loads it."""

import os
from typing import Any


def process_id(_item: object) -> str:
    """Handle a job, or any other item: return the id of the process."""
    return str(os.getpid())


def send_process_id(connection: Any) -> None:
    """Answer the process that started this one."""
    connection.send(process_id(None))
