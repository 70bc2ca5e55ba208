"""The dashboard behind real servers: open pages don't keep a server from stopping."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.unit.web.dashboard.app import TOKEN
from tests.unit.web.dashboard.browsing import ROOT
from tests.unit.web.serving import SERVERS, Service

pytestmark = pytest.mark.thorough

APP = "tests.unit.web.dashboard.app:app"


@pytest.mark.parametrize("server", [each for each in SERVERS if "without" not in each])
def test_a_server_stops_though_pages_are_open(server: str) -> None:
    service = Service(server, APP)
    service.client.headers["Authorization"] = f"Bearer {TOKEN}"
    try:
        with ExitStack() as stack:
            streams = [
                stack.enter_context(service.client.stream("GET", f"{ROOT}{path}")).iter_lines()
                for path in ("/events", "/events", "/api/events")
            ]
            assert [next(each) for each in streams] == ["retry: 2000"] * 2 + [": still here"]
            service.stop()  # waits for the end of the process
            ends = [[*each][-1] for each in streams]  # whole, or this raises
            assert ends == ["", "", ""]
        assert "Traceback" not in service.log
    finally:
        service.kill()
