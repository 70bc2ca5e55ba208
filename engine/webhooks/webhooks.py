"""The webhooks of a program: the rules and the handlers of its endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.follow_ups import FollowUp
from engine.domain.models import Status
from engine.webhooks.delivery import delivering
from engine.webhooks.endpoint import Endpoint
from engine.worker import Handler


class Webhooks(Generic[Status]):
    """Delivers the events of jobs to endpoints.

    Args:
        endpoints: Those, each with a name of its own.

    Raises:
        InvalidValueError: One is no `Endpoint`, or two have one name.

    Attributes:
        rules: Give them to the engine, as ``follow_ups``, with your own.
        handlers: Give them to a worker, with your own.
    """

    def __init__(self, endpoints: Iterable[Endpoint[Status]]) -> None:
        self.rules: list[FollowUp[Status]] = []
        self.handlers: dict[str, Handler[Any, dict[str, int]]] = {}
        for endpoint in endpoints:
            given: object = endpoint
            if not isinstance(given, Endpoint):
                raise InvalidValueError("endpoints", f"must have Endpoints, not {shown(given)}")
            if endpoint.kind in self.handlers:
                raise InvalidValueError(
                    "endpoints", f"has two with the name {endpoint.name!r}: give one another name"
                )
            self.rules.append(endpoint.rule)
            self.handlers[endpoint.kind] = delivering(endpoint)
