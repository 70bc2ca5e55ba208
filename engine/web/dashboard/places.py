"""Places: where the dashboard is mounted, as its links and routes have to know."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import Scope


def placed(scope: Scope) -> Scope:
    """Return a request's scope with the whole path in ``path``, and the place in ``root_path``.

    Starlette, and so FastAPI, says both. Litestar cuts the place off from the path, adds a slash
    and names the place nowhere: what the client has asked for, ``raw_path``, still has it.
    """
    if scope["type"] != "http":
        return scope
    root, path = str(scope.get("root_path", "")).rstrip("/"), str(scope["path"]).rstrip("/")
    asked = unquote(bytes(scope.get("raw_path") or b"").decode("latin-1")).rstrip("/")
    if asked != path and asked.endswith(path):
        place = asked.removesuffix(path)
        root = place if place.startswith(root) else root + place
        path = root + path
    return {**scope, "root_path": root, "path": path if path != root else f"{root}/"}


def path_below_root(request: Request) -> str:
    """Return a request's path below the place of the dashboard."""
    root, path = str(request.scope.get("root_path", "")), str(request.scope["path"])
    return path.removeprefix(root) if path.startswith(f"{root}/") else path
