"""The gate: polls for payments and the like, and moves waiting jobs on.

::

    Gate ──▶ GateKeeper: tracks the waiting jobs, runs the check, moves the chosen jobs
               ├──▶ Check: the user's function, on the loop or in a thread
               ├──▶ WaitingJobs: the check's view of them
               └──▶ MoveChosen: the owner's command for each, which a pause stops

A gate is one way for a job to start; a payment service's callback that calls `transition` is
another. They may work side by side: the first one wins, and the other changes nothing.

Public: nothing; `engine` exports the names of users.
"""

from engine.gate.gate import Gate
from engine.gate.waiting_jobs import GateCheck, WaitingJobs

__all__ = ["Gate", "GateCheck", "WaitingJobs"]
