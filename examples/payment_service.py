"""A little payment service: it holds the buyers' money, and its ledger shows where the money went.

::

    python examples/payment_service.py 8100

It is what `agent.py` is tried with, and what the tests ask whether every payment went one way.

* ``POST /payments`` asks for a payment, to be paid within ``pay_within_seconds``. The answer has
  the fields that MIP-003 of the Masumi network wants to be passed on to the buyer.
* ``POST /pay`` pays for a ``payment_id``, as a buyer does. If it was asked for with a ``callback``,
  the service calls there, twice, with its ``order``.
* ``GET /held`` lists the payments whose money is here.
* ``POST /settle`` gives the money of a ``payment_id`` to the seller, for a ``result_hash``. It is
  ``accepted``, and ``confirmed`` some calls later.
* ``POST /refund`` gives it back to the buyer. A payment without money is closed: nobody can pay
  any more.
* ``GET /ledger`` shows all payments, each with its ``problem``, if it has one.
* ``POST /faults`` orders faults: ``{"confirm_after": 2, "settle": ["500", "429", "drop"]}``. "drop"
  and "hang" do what they are asked, and never say so.

``settle`` and ``refund`` take a ``key``: the same key again changes nothing. A service that is told
the same thing with another key does it again, as real ones do, and its ledger then shows that.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

Json = dict[str, Any]
CALLBACKS = 2  # of each payment: services deliver twice


class RefusedError(Exception):
    """A call that changes nothing."""


@dataclass
class Move:
    """Money that has left the service."""

    to: str
    key: str
    result_hash: str | None
    polls_until_confirmed: int = 0


@dataclass
class Payment:
    """A payment that was asked for."""

    payment_id: str
    pay_by: float
    callback: str | None
    order: Json
    is_paid: bool = False
    is_closed: bool = False
    moves: list[Move] = field(default_factory=list)

    @property
    def problem(self) -> str | None:
        """What is wrong with it once everything has ended; None for nothing."""
        ways = ", ".join(move.to for move in self.moves)
        if len(self.moves) > 1:
            return f"the money left {len(self.moves)} times: {ways}"
        if self.is_paid and not self.moves:
            return "paid, and the money is kept"
        if self.moves and not self.is_paid:
            return f"money that nobody paid was moved: {ways}"
        if self.moves and self.moves[0].polls_until_confirmed:
            return "nobody waited for the confirmation"
        return None


class Ledger:
    """The payments and where their money went. For any thread."""

    def __init__(self) -> None:
        self.payments: dict[str, Payment] = {}
        self._confirm_after = 0
        self._faults: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def call(self, name: str, body: Json) -> Json:
        """Do what a request says, alone.

        Raises:
            RefusedError: It can't be done.
        """
        calls: dict[str, Callable[[Json], Json]] = {
            "payments": self._ask,
            "pay": self._pay,
            "held": self._held,
            "settle": self._settle,
            "refund": self._refund,
            "ledger": self._show,
            "faults": self._order_faults,
        }
        if name not in calls:
            raise RefusedError(f"there is no /{name}")
        with self._lock:
            return calls[name](body)

    def next_fault(self, name: str) -> str | None:
        """Take the fault of the next request to a path."""
        with self._lock:
            faults = self._faults.get(name)
            return faults.pop(0) if faults else None

    def _ask(self, body: Json) -> Json:
        pay_by = time.time() + body.get("pay_within_seconds", 3_600)
        payment = Payment(uuid.uuid4().hex, pay_by, body.get("callback"), body.get("order", {}))
        self.payments[payment.payment_id] = payment
        submit_by = int(pay_by + body.get("submit_within_seconds", 86_400))
        return {
            "blockchainIdentifier": payment.payment_id,
            "payByTime": int(pay_by),
            "submitResultTime": submit_by,
            "unlockTime": submit_by + 3_600,
            "externalDisputeUnlockTime": submit_by + 7_200,
            "agentIdentifier": "an agent",
            "sellerVKey": "the key of its wallet",
        }

    def _pay(self, body: Json) -> Json:
        payment = self._payment(body)
        if not payment.is_paid and (payment.is_closed or time.time() > payment.pay_by):
            raise RefusedError("it is too late to pay")
        if not payment.is_paid and payment.callback is not None:
            for _ in range(CALLBACKS):
                threading.Thread(target=call_back, args=(payment,), daemon=True).start()
        payment.is_paid = True
        return {"paid": payment.payment_id}

    def _held(self, _body: Json) -> Json:
        payments = self.payments.values()
        return {"held": [each.payment_id for each in payments if each.is_paid and not each.moves]}

    def _settle(self, body: Json) -> Json:
        payment = self._payment(body)
        for move in payment.moves:
            if move.key == body["key"]:
                move.polls_until_confirmed = max(0, move.polls_until_confirmed - 1)
                break
        else:
            move = Move("seller", body["key"], body["result_hash"], self._confirm_after)
            payment.moves.append(move)
        return {"state": "accepted" if move.polls_until_confirmed else "confirmed"}

    def _refund(self, body: Json) -> Json:
        payment = self._payment(body)
        payment.is_closed = True
        if payment.is_paid and all(move.key != body["key"] for move in payment.moves):
            payment.moves.append(Move("buyer", body["key"], None))
        return {"state": "refunded" if payment.is_paid else "closed"}

    def _show(self, _body: Json) -> Json:
        return {
            "payments": [
                {**asdict(each), "problem": each.problem} for each in self.payments.values()
            ]
        }

    def _order_faults(self, body: Json) -> Json:
        self._confirm_after = body.pop("confirm_after", self._confirm_after)
        for name, faults in body.items():
            self._faults.setdefault(name, []).extend(faults)
        return {"faults": self._faults}

    def _payment(self, body: Json) -> Payment:
        if (payment := self.payments.get(body.get("payment_id", ""))) is None:
            raise RefusedError("there is no such payment")
        return payment


def call_back(payment: Payment) -> None:
    """Tell whoever asked for a payment that it was paid, until somebody hears it."""
    assert payment.callback is not None  # noqa: S101 - for the type checker
    body = json.dumps({**payment.order, "payment_id": payment.payment_id}).encode()
    request = Request(payment.callback, body, {"Content-Type": "application/json"})  # noqa: S310
    for _ in range(100):
        try:
            with urlopen(request, timeout=10):  # noqa: S310 - whoever asks for a payment may say
                return
        except OSError:
            time.sleep(0.2)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_GET(self) -> None:
        """Answer a question."""
        self._answer(200, self.server.ledger.call(self.path.strip("/"), {}))

    def do_POST(self) -> None:
        """Do what the request says, unless a fault was ordered."""
        name, ledger = self.path.strip("/"), self.server.ledger
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        fault = ledger.next_fault(name)
        if fault in {"500", "429"}:
            self._answer(int(fault), {"error": "ordered"}, **{"Retry-After": "0"})
            return
        try:
            status, answer = 200, ledger.call(name, body)
        except RefusedError as error:
            status, answer = 409, {"error": str(error)}
        if fault == "hang":
            self.connection.recv(1)  # until the client goes away
        elif fault != "drop":
            self._answer(status, answer)

    def log_message(self, *_: object) -> None:
        """Print nothing for each request."""

    def _answer(self, status: int, answer: Json, **headers: str) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Serves a ledger on this machine alone."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, ledger: Ledger, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.ledger = ledger

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Print nothing for a client that went away."""


if __name__ == "__main__":
    with Server(Ledger(), int(sys.argv[1]) if len(sys.argv) > 1 else 0) as server:
        print(f"running on {server.url}", flush=True)
        server.serve_forever()
