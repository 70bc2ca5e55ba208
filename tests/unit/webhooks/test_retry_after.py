"""``Retry-After``: seconds or a date, up to a day; anything else is no delay."""

from datetime import UTC, datetime

import pytest

from engine.webhooks.retry_after import retry_after_seconds

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("86401", 86_400),
        ("9" * 4_000, 86_400),
        ("Thu, 01 Jan 2026 12:30:00 GMT", 1_800),
        ("Thu, 01 Jan 2026 12:30:00", 1_800),
        ("Thursday, 01-Jan-26 12:30:00 GMT", 1_800),
        ("Thu, 01 Jan 2026 14:30:00 +0200", 1_800),
        ("Wed, 31 Dec 2025 12:00:00 GMT", 0),
        ("Thu, 01 Jan 2099 12:00:00 GMT", 86_400),
        *((None, None), ("", None), ("soon", None), ("-5", None), ("1.5", None), ("٣", None)),
        ("Thu, 99 Jan 2026 12:30:00 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0),
    ],
)
def test_a_header_is_a_delay(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds
