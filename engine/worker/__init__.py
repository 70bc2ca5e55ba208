"""The worker: what runs a handler for the jobs that are ready.

::

    Worker ──▶ WorkerPool: claims jobs, at most so many at once, and looks after them
                 └──▶ Attempt: one run of the handler for one job
                        ├──▶ Handler: on the loop, in a thread or in a process
                        └──▶ Context: what the handler can say and ask
"""

from engine.worker.context import Context
from engine.worker.worker import Worker

__all__ = ["Context", "Worker"]
