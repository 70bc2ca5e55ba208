"""The dashboard: an operator's pages and JSON API over an engine.

Needs jinja2 and Starlette: ``pip install 'engine[web]'``. ::

    app.mount("/ops", Dashboard(engine, authorize=token_access(TOKEN)))

Each page is made of a bounded number of operations (`engine.operations`), by a desk::

    browser ──▶ guard ──▶ page ──▶ desk ──▶ engine, of this process or elsewhere
       ▲                   │
       └── stream ◀── feed ┘   one long poll for all open pages

The **guard** stands before every path: access, forged requests, headers. The **board** has what the
pages share: reads that serve all who ask at once, and the **feed**, whose news say which jobs have
changed. A page is rendered on the server, whole; the script reads it again when there is news, and
swaps what differs.
"""

try:
    import jinja2  # noqa: F401 - only here its absence can be told from another one
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "engine.web.dashboard needs jinja2: pip install 'engine[web]'", name=missing.name
    ) from missing

from engine.web.dashboard.access import Access, Authorize, TokenAccess, token_access
from engine.web.dashboard.app import Dashboard
from engine.web.dashboard.board import Hide

__all__ = ["Access", "Authorize", "Dashboard", "Hide", "TokenAccess", "token_access"]
