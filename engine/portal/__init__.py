"""The one place that knows of threads, locks and the event loops' own calls.

* `choose_event` returns what makes events for many waiting tasks.
* `Home` is the event loop that an engine lives on: it tells calls from elsewhere apart.
* `Lane` is the way of threads into an engine's inbox. All engines that have one are served on one
  event-loop thread of the process.
* `until` says when a blocking call has taken too long.
* `WorkThread` makes blocking calls on a thread of its own.
"""

from engine.portal.home import Home, choose_event
from engine.portal.lane import Lane, until
from engine.portal.work_thread import WorkThread

__all__ = ["Home", "Lane", "WorkThread", "choose_event", "until"]
