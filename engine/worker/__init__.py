"""The worker: runs handlers for the jobs that are ready.

::

    Worker ──▶ WorkerPool: runs an attempt for each job by the handler of its kind
                 ├──▶ Claimer: claims jobs for the free places
                 ├──▶ StuckMonitor: reports attempts that block the event loop or refuse to stop
                 ├──▶ OutcomeSender: reports results, retries, failures and questions to the owner
                 └──▶ Attempt: one run of the handler for one job
                        ├──▶ Runner: calls the user's function, on the loop or in a thread
                        │      └──▶ ProcessPool: the same in processes
                        └──▶ Context: the handler's view of its job, its progress and questions

Public: nothing; `engine` exports the names of users.
"""

from engine.worker.context import Context
from engine.worker.handler import Handler, HandlerFunction
from engine.worker.options import Middleware
from engine.worker.processes import Processes
from engine.worker.worker import Worker

__all__ = ["Context", "Handler", "HandlerFunction", "Middleware", "Processes", "Worker"]
