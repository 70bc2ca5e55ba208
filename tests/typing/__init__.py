"""Types: what mypy knows of the engine."""
