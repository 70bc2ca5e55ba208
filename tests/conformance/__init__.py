"""The conformance suite over every storage, and over broken ones."""
