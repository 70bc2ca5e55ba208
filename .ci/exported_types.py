"""Check that every symbol that the package exports is typed, by what pyright makes of it.

Run by `.ci/run` in the environment of the checks. Exported is what the public modules name: of all
else the types are checked by mypy, and no user depends on them. A type that is unknown in part is
passed over, because that comes from elsewhere: from a symbol that is listed by itself, or from the
stubs of another package, of which pyright does not know every decorator.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

PUBLIC = (
    "engine",
    "engine.domain.exceptions",
    "engine.domain.models",
    "engine.repository.job_repo",
    "engine.services.job_service",
    "engine.storage",
    "engine.telemetry",
    "engine.testing",
    "engine.web",
    "engine.web.dashboard",
)
FROM_ELSEWHERE = ("partially unknown", "Type of metaclass unknown", "Type of base class unknown")


def exported() -> set[str]:
    """Return where each exported symbol is defined."""
    places = set()
    for name in PUBLIC:
        module = importlib.import_module(name)
        own = [each for each in vars(module) if not each.startswith("_")]
        for symbol in getattr(module, "__all__", own):
            value = getattr(module, symbol)
            home, inner = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
            ours = str(home).startswith("engine") and inner
            places.add(f"{home}.{inner}" if ours else f"{name}.{symbol}")
    return places


def main() -> int:
    """Print what is not typed; return the exit code."""
    command = ["pyright", "--pythonpath", sys.executable, "--verifytypes", "engine"]
    found = subprocess.run(  # noqa: S603 - our own words
        [*command, "--ignoreexternal", "--outputjson"], capture_output=True, check=False
    )
    symbols = json.loads(found.stdout)["typeCompleteness"]["symbols"]
    places, seen, problems = exported(), 0, []
    for symbol in symbols:
        name = symbol["name"]
        if not any(name == place or name.startswith(f"{place}.") for place in places):
            continue
        seen += 1
        for each in symbol["diagnostics"]:
            text = each["message"].splitlines()[0]
            if each["severity"] == "error" and not any(known in text for known in FROM_ELSEWHERE):
                problems.append(f"{name}: {text}")
    print(*problems, sep="\n", end="\n" * bool(problems))
    print(f"{seen} exported symbols, {len(problems)} without a type")
    return 1 if problems or seen < len(places) else 0


if __name__ == "__main__":
    sys.exit(main())
