"""Tests that are special to the SQLite storage; `tests.conformance` tests every storage."""
