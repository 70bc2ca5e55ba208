"""A browser without JavaScript: it reads pages, follows links and sends forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

import httpx

ORIGIN: Final = "http://ops.test"
ROOT: Final = "/ops"
SAME_ORIGIN: Final = {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}


@dataclass
class Form:
    """A form, with the values that it has at first."""

    action: str
    method: str
    name: str | None
    fields: list[tuple[str, str]] = field(default_factory=list)

    def filled(self, **values: str) -> list[tuple[str, str]]:
        """Return the fields with other values; a name's underscore may stand for a dot."""
        given = {name.replace("field_", "field."): value for name, value in values.items()}
        kept = [(name, value) for name, value in self.fields if name not in given]
        return [*kept, *given.items()]


class Page(HTMLParser):
    """A page, as the browser shows it.

    Attributes:
        text: What is read, with white space as one space.
        forms: Its forms.
        links: The addresses of its links, by their texts.
        boxes: The values of the boxes that select jobs.
    """

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.status = answer.status_code
        self.answer = answer
        self.title = ""
        self.body: dict[str, str | None] = {}
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.tags: list[str] = []
        self.boxes: list[str] = []
        self._texts: list[str] = []
        self._link: str | None = None
        self._option: str | None = None
        self._select: str | None = None
        self._open: Form | None = None
        self.feed(answer.text)
        self.lines = [each.strip() for each in self._texts]
        self.text = " ".join("".join(self._texts).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        assert not any(name.startswith("on") or name == "style" for name in given)
        self.tags.append(tag)
        value = given.get("value") or ""
        if tag == "body":
            self.body = given
        elif tag == "a":
            self._link = given.get("href")
        elif tag == "form":
            action, method = given.get("action") or "", given.get("method") or "get"
            self._open = Form(action, method, given.get("aria-label") or given.get("id"))
            self.forms.append(self._open)
        elif tag == "input" and given.get("type") == "checkbox":
            self.boxes += [value] * (given["name"] == "job")
        elif self._open is not None and tag == "input":
            self._open.fields.append((str(given["name"]), value))
        elif tag == "select":
            self._select = given.get("name")
        elif tag == "option" and self._open is not None and self._select is not None:
            self._choose(self._open, self._select, given)

    def _choose(self, form: Form, name: str, option: dict[str, str | None]) -> None:
        """Let a list have its first option, or the one that is marked."""
        others = [each for each in form.fields if each[0] != name]
        if len(others) == len(form.fields) or "selected" in option:
            text = option.get("value")
            self._option = name if text is None else None  # its text is its value
            form.fields = [*others, (name, text or "")]

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._link = None
        elif tag == "form":
            self._open = None
        elif tag in {"option", "select"}:
            self._option = None

    def handle_data(self, data: str) -> None:
        self._texts.append(data if "script" not in self.tags[-1:] else "")
        if self._link is not None and data.strip():
            self.links[data.strip()] = self._link
        if self._option is not None and self._open is not None:
            self._open.fields[-1] = (self._option, data)

    def form(self, name: str) -> Form:
        """Return the one form with this label or id."""
        [found] = [form for form in self.forms if form.name == name]
        return found

    def has_form(self, name: str) -> bool:
        return any(form.name == name for form in self.forms)


class Browser:
    """Speaks to a dashboard."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str, **query: str) -> Page:
        """Read a page, below the root of the dashboard."""
        answer = await self.client.get(f"{ROOT}{path}", params=query, follow_redirects=True)
        return Page(answer)

    async def follow(self, link: str) -> Page:
        return Page(await self.client.get(link, follow_redirects=True))

    async def send(self, form: Form, *more: tuple[str, str], **values: str) -> Page:
        """Send a form, and follow where it leads."""
        content = httpx.QueryParams([*form.filled(**values), *more])
        if form.method == "get":
            return Page(await self.client.get(form.action, params=content, follow_redirects=True))
        answer = await self.client.post(
            form.action,
            content=str(content),
            headers={**SAME_ORIGIN, "Content-Type": "application/x-www-form-urlencoded"},
            follow_redirects=True,
        )
        return Page(answer)
