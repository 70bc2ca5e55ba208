"""A real browser, where there is one: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_PROGRAM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
_OPTIONS: Final = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

needs_browser = pytest.mark.skipif(
    _PROGRAM is None or not all(map(find_spec, ("playwright", "axe_playwright_python"))),
    reason="needs a browser: apt-get install chromium, and pip install -e '.[browser]'",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser without a screen."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it may not be installed

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_PROGRAM, args=list(_OPTIONS))
        yield browser
        browser.close()
