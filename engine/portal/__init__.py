"""The one place that knows of threads, locks and the event loops' own calls.

* `choose_event` returns what makes events for many waiting tasks.
* `LoopAffinity` is the event loop that an engine lives on: it tells calls from elsewhere apart.
* `SyncBridge` takes messages of threads to an engine. All engines that have one are served on one
  event-loop thread of the process; `HeldContext` keeps an asynchronous context open there.
* `check_timeout` judges how long a thread may wait, and `until` says when that was too long.
* `WorkThread` makes blocking calls on a thread of its own, `Threads` each on another one.
* `task_starter` returns what starts tasks at little cost.
* `Watchdog` notices that an event loop is blocked; `stack_text` and `awaiting_text` say by what.
* `stop_signals` tells a program that it is to stop; `is_ctrl_c` and `protect` keep an interrupt of
  the program apart from one that a function raises by itself.
"""

from engine.portal.affinity import Event, LoopAffinity, choose_event
from engine.portal.bridge import HeldContext, Notify, SyncBridge, check_timeout, until
from engine.portal.interrupts import is_ctrl_c, protect
from engine.portal.signals import stop_signals
from engine.portal.stacks import awaiting_text, stack_text
from engine.portal.tasks import task_starter
from engine.portal.threads import Call, Threads
from engine.portal.watchdog import Watchdog
from engine.portal.work import call_soon
from engine.portal.work_thread import WorkThread

__all__ = [
    "Call",
    "Event",
    "HeldContext",
    "LoopAffinity",
    "Notify",
    "SyncBridge",
    "Threads",
    "Watchdog",
    "WorkThread",
    "awaiting_text",
    "call_soon",
    "check_timeout",
    "choose_event",
    "is_ctrl_c",
    "protect",
    "stack_text",
    "stop_signals",
    "task_starter",
    "until",
]
