"""The conformance suite on every storage, and on broken ones."""
