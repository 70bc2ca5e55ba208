"""The one place that knows of threads, locks and the event loops' own calls.

* `new_event` makes an event for many waiting tasks, the cheapest that the event loop has.
* `Home` is the event loop that an engine lives on: it tells calls from elsewhere apart.
* `Lane` is the way of threads into an engine's inbox. All engines that have one are served on one
  event-loop thread of the process.
"""

from engine.portal.home import Home, new_event
from engine.portal.lane import Lane

__all__ = ["Home", "Lane", "new_event"]
