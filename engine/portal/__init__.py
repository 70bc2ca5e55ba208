"""The one place that knows of threads, locks and the event loops' own calls.

* `choose_event` returns what makes events for many waiting tasks.
* `Home` is the event loop that an engine lives on: it tells calls from elsewhere apart.
* `Lane` is the way of threads into an engine's inbox. All engines that have one are served on one
  event-loop thread of the process; `Held` keeps an asynchronous context open there.
* `check_timeout` judges how long a thread may wait, and `until` says when that was too long.
* `WorkThread` makes blocking calls on a thread of its own, `Threads` each on another one.
* `task_starter` returns what starts tasks at little cost.
* `Watchdog` notices that an event loop is blocked; `stack_text` and `awaiting_text` say by what.
* `stop_signals` tells a program that it is to stop; `is_ctrl_c` and `protect` keep an interrupt of
  the program apart from one that a function raises by itself.
"""

from engine.portal.home import Home, choose_event
from engine.portal.interrupts import is_ctrl_c, protect
from engine.portal.lane import Held, Lane, check_timeout, until
from engine.portal.signals import stop_signals
from engine.portal.stacks import awaiting_text, stack_text
from engine.portal.tasks import task_starter
from engine.portal.threads import Call, Threads
from engine.portal.watchdog import Watchdog
from engine.portal.work import call_soon
from engine.portal.work_thread import WorkThread

__all__ = [
    "Call",
    "Held",
    "Home",
    "Lane",
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
