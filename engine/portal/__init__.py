"""The only place that touches threads, locks and the event loops' own calls. Public: nothing.

* `choose_event` returns a maker of events for many waiting tasks; `call_soon` a function that
  schedules callbacks from any thread.
* `LoopAffinity` ties an engine to its event loop, and refuses calls from any other.
* `hold` keeps the context of an awaited engine open, on asyncio in a task of its own.
* `SyncBridge` carries messages from threads to an engine, unless a thread's own event loop is
  running. One event-loop thread of the process serves all blocking engines; `HeldContext` keeps an
  asynchronous context open on it, and `check_interpreter` refuses finalizers that come too late for
  it.
* `TimeLimit` counts the time of a blocking call from its beginning.
* `readiness_of` waits for callers of a listening socket.
* `Doorbell` wakes a thread that waits for a socket or for a time.
* `WorkThread` makes blocking calls on one thread, in order; `Threads` makes each on its own.
* `task_starter` returns a function that starts tasks at little cost; `to_the_end` runs a function
  that no cancellation may cut short.
* `Watchdog` notices a blocked event loop; `stack_text` and `awaiting_text` show where it hangs.
* `ChildProcess` is a process with a private `Channel`, `ParentProcess` the other side of it.
* `stop_signals` and `blocking_stop_signals` ask a program to stop; `protect` and `context_of_tasks`
  bring an interrupt that comes in the engine's tasks to the program.
"""

from engine.portal.affinity import Affinity, Event, LoopAffinity, call_soon, choose_event
from engine.portal.bridge import HeldContext, Notify, SyncBridge, TimeLimit
from engine.portal.channel import ChannelDamagedError, ChannelEndedError, ChannelError
from engine.portal.child_process import ChildProcess
from engine.portal.doorbell import Doorbell
from engine.portal.held_engine import Held, hold
from engine.portal.interrupts import context_of_tasks, protect
from engine.portal.loop_thread import check_interpreter, is_loop_thread
from engine.portal.parent_process import ParentProcess
from engine.portal.readiness import Readiness, readiness_of
from engine.portal.signals import EXIT_CODE, blocking_stop_signals, stop_signals
from engine.portal.tasks import task_starter, to_the_end
from engine.portal.threads import BlockingCall, Threads, WorkThread, other_threads
from engine.portal.watchdog import Watchdog, awaiting_text, stack_text

__all__ = [
    "EXIT_CODE",
    "Affinity",
    "BlockingCall",
    "ChannelDamagedError",
    "ChannelEndedError",
    "ChannelError",
    "ChildProcess",
    "Doorbell",
    "Event",
    "Held",
    "HeldContext",
    "LoopAffinity",
    "Notify",
    "ParentProcess",
    "Readiness",
    "SyncBridge",
    "Threads",
    "TimeLimit",
    "Watchdog",
    "WorkThread",
    "awaiting_text",
    "blocking_stop_signals",
    "call_soon",
    "check_interpreter",
    "choose_event",
    "context_of_tasks",
    "hold",
    "is_loop_thread",
    "other_threads",
    "protect",
    "readiness_of",
    "stack_text",
    "stop_signals",
    "task_starter",
    "to_the_end",
]
