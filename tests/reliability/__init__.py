"""The rows of the reliability table in `docs/guarantees.md`, one module each."""
