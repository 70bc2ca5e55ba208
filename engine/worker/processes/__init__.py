"""Handlers in processes.

::

    ProcessPool ──▶ HandlerProcess: the engine's side of a process
                      └──▶ ChildProcess ══ channel ══▶ program: calls the handler, in the process

A process is a new interpreter, which loads the handler by the name of its module. The two sides
exchange `messages`, which are plain data. Public: nothing; `engine` exports `Processes`.
"""

from engine.worker.processes.loading import check_not_loading
from engine.worker.processes.process_pool import ProcessPool
from engine.worker.processes.rules import Processes
from engine.worker.processes.work import Work

__all__ = ["ProcessPool", "Processes", "Work", "check_not_loading"]
