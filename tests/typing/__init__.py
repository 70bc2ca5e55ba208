"""Types: mypy on programs that use the engine."""
