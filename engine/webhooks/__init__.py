"""Webhooks: tell other services of jobs, and verify the callbacks of theirs.

Needs httpx and standardwebhooks: ``pip install 'engine[webhooks]'``. ::

    hooks = Webhooks([Endpoint("crm", "https://…/jobs", secret, to={S.COMPLETED, S.FAILED})])

    async with (
        JobEngine("jobs.db", follow_ups=hooks.rules) as engine,
        Worker(engine, {"report": write_report, **hooks.handlers}),
    ):
        ...

Each event is a follow-up of its own for each endpoint, created in the commit that moves the job. So
none is lost, one that fails is sent again to that endpoint alone, and its attempts are the delivery
log. Headers and signatures are those of Standard Webhooks (https://www.standardwebhooks.com).
"""

try:
    import httpx  # noqa: F401 - only here its absence can be told from another one
    import standardwebhooks  # noqa: F401 - as above
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "engine.webhooks needs httpx and standardwebhooks: pip install 'engine[webhooks]'",
        name=missing.name,
    ) from missing

from engine.webhooks.delivery import DeliveryError
from engine.webhooks.endpoint import DELIVERY_RETRY, Endpoint, Payload
from engine.webhooks.incoming import Incoming, InvalidWebhookError, verify
from engine.webhooks.signing import new_secret
from engine.webhooks.webhooks import Webhooks

__all__ = [
    "DELIVERY_RETRY",
    "DeliveryError",
    "Endpoint",
    "Incoming",
    "InvalidWebhookError",
    "Payload",
    "Webhooks",
    "new_secret",
    "verify",
]
