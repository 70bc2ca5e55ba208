"""Ready-made lifecycles beside the default one: for orders, and for agent services."""

from __future__ import annotations

from enum import StrEnum

from engine.domain.lifecycle import Lifecycle
from engine.domain.outcomes import Outcome


class OrderStatus(StrEnum):
    """The statuses of `ORDER_LIFECYCLE`."""

    AWAITING_PAYMENT = "awaiting_payment"
    RUNNING = "running"
    AWAITING_INPUT = "awaiting_input"
    NEEDS_ATTENTION = "needs_attention"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_LIVE = (
    OrderStatus.AWAITING_PAYMENT,
    OrderStatus.RUNNING,
    OrderStatus.AWAITING_INPUT,
    OrderStatus.NEEDS_ATTENTION,
)
_GIVEN_UP = {OrderStatus.CANCELLED, OrderStatus.EXPIRED}

ORDER_LIFECYCLE: Lifecycle[OrderStatus] = Lifecycle(
    OrderStatus,
    {
        OrderStatus.AWAITING_PAYMENT: {OrderStatus.RUNNING, *_GIVEN_UP},
        OrderStatus.RUNNING: {
            OrderStatus.AWAITING_INPUT,
            OrderStatus.NEEDS_ATTENTION,
            OrderStatus.COMPLETED,
            OrderStatus.FAILED,
            *_GIVEN_UP,
        },
        OrderStatus.AWAITING_INPUT: {OrderStatus.RUNNING, *_GIVEN_UP},
        OrderStatus.NEEDS_ATTENTION: {
            OrderStatus.RUNNING,
            OrderStatus.COMPLETED,
            OrderStatus.FAILED,
            *_GIVEN_UP,
        },
        OrderStatus.COMPLETED: set(),
        OrderStatus.FAILED: set(),
        OrderStatus.CANCELLED: set(),
        OrderStatus.EXPIRED: set(),
    },
    initial=OrderStatus.AWAITING_PAYMENT,
    running=OrderStatus.RUNNING,
    success={OrderStatus.COMPLETED},
    failure={OrderStatus.FAILED, *_GIVEN_UP},
    awaiting_input=OrderStatus.AWAITING_INPUT,
    fails_to=OrderStatus.FAILED,
    exhausted_to=OrderStatus.NEEDS_ATTENTION,
    expires_to=dict.fromkeys(_LIVE, OrderStatus.EXPIRED),
    cancels_to=dict.fromkeys(_LIVE, OrderStatus.CANCELLED),
    outcomes={
        OrderStatus.COMPLETED: Outcome.SUCCEEDED,
        OrderStatus.FAILED: Outcome.FAILED,
        OrderStatus.CANCELLED: Outcome.CANCELLED,
        OrderStatus.EXPIRED: Outcome.EXPIRED,
    },
)
"""For what customers pay for: a running job may ask, and one whose attempts are used up needs the
attention of a person, who retries it or ends it. Give ``needs_attention`` a deadline: a job that
nobody looks at keeps the customer's money for ever."""


class AgentJobStatus(StrEnum):
    """The statuses of `AGENT_JOB_LIFECYCLE`."""

    AWAITING_PAYMENT = "awaiting_payment"
    AWAITING_INPUT = "awaiting_input"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


AGENT_JOB_LIFECYCLE: Lifecycle[AgentJobStatus] = Lifecycle(
    AgentJobStatus,
    {
        AgentJobStatus.AWAITING_PAYMENT: {AgentJobStatus.RUNNING, AgentJobStatus.FAILED},
        AgentJobStatus.AWAITING_INPUT: {AgentJobStatus.RUNNING, AgentJobStatus.FAILED},
        AgentJobStatus.RUNNING: {
            AgentJobStatus.AWAITING_INPUT,
            AgentJobStatus.COMPLETED,
            AgentJobStatus.FAILED,
        },
        AgentJobStatus.COMPLETED: set(),
        AgentJobStatus.FAILED: set(),
    },
    initial=AgentJobStatus.AWAITING_PAYMENT,
    running=AgentJobStatus.RUNNING,
    success={AgentJobStatus.COMPLETED},
    failure={AgentJobStatus.FAILED},
    awaiting_input=AgentJobStatus.AWAITING_INPUT,
    hint="use ORDER_LIFECYCLE, whose jobs may be retried when their attempts are used up",
)
"""For agent services: a running job may ask its user, and a waiting job may expire or be cancelled,
and so fail."""
