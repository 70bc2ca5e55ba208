"""Types: mypy and pyright on programs that use the engine."""
