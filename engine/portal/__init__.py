"""The one place that knows of threads, locks and the event loops' own calls.

* `choose_event` returns what makes events for many waiting tasks.
* `Home` is the event loop that an engine lives on: it tells calls from elsewhere apart.
* `Lane` is the way of threads into an engine's inbox. All engines that have one are served on one
  event-loop thread of the process.
"""

from engine.portal.home import Home, choose_event
from engine.portal.lane import Lane

__all__ = ["Home", "Lane", "choose_event"]
