"""Draw the dashboard's pages into ``docs``, by the browser of the tests and a real server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.screenshots.app import TOKEN
from tests.unit.web.dashboard.chromium import chromium
from tests.unit.web.serving import Service

if TYPE_CHECKING:
    from playwright.sync_api import Page

DOCS: Final = Path(__file__).parents[2] / "docs"
PICTURES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "overview": ("", {}),
    "job": ("inbox", {"color_scheme": "dark"}),  # the first one there
    "jobs": ("jobs", {"viewport": {"width": 420, "height": 860}}),
}


def _draw(page: Page, base: str, path: str, file: Path) -> None:
    page.goto(base)
    page.fill("input[name=token]", TOKEN)
    page.click("text=Log in")
    page.goto(f"{base}{path}")
    if path == "inbox":
        page.click("td a.id")
        page.wait_for_load_state("networkidle")
    page.screenshot(path=file)


def main() -> None:
    """Draw all pictures."""
    service = Service("uvicorn", "tests.screenshots.app:app")
    try:
        with chromium() as browser:
            for name, (path, how) in PICTURES.items():
                context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **how})
                file = DOCS / f"dashboard-{name}.png"
                _draw(context.new_page(), f"{service.address}/ops/", path, file)
                print(file)  # noqa: T201 - a program
    finally:
        service.kill()


if __name__ == "__main__":
    main()
