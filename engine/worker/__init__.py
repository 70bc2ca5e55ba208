"""The worker: runs a handler for the jobs that are ready.

::

    Worker ──▶ WorkerPool: claims jobs, runs an attempt for each, reports the outcomes
                 ├──▶ StuckMonitor: reports attempts that block the event loop or refuse to stop
                 ├──▶ OutcomeSender: reports results, retries, failures and questions to the owner
                 └──▶ Attempt: one run of the handler for one job
                        ├──▶ Handler: the user's function, on the loop or in a thread
                        │      └──▶ ProcessPool: the same in processes
                        └──▶ Context: the handler's view of its job, its progress and questions

Public: nothing; `engine` exports the names of users.
"""

from engine.worker.attempt import Middleware
from engine.worker.context import Context
from engine.worker.handler import HandlerFunction
from engine.worker.processes import Processes
from engine.worker.worker import Worker

__all__ = ["Context", "HandlerFunction", "Middleware", "Processes", "Worker"]
